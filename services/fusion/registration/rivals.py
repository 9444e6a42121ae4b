"""What chance reaches for two images: rivals that cannot be right, the moving image turned to its mirror image.

A mirror image has the noise, the contrast and the edges of the image itself. How well the fixed image agrees with it is
what a body reaches that is not there, whatever the two modalities are. Where the alignment that was found is right, the
rivals stay behind. Where it is of another body or of noise, they are about as good; where the moving image itself is
mirrored, they are better.

Rivals are judged by mutual information. Structure, which registrations climb if nothing else is asked for, can be bent
into agreement; mutual information rises less with it.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np

from hilum.registration_options import RegistrationOptions
from services.fusion.registration.agreement import Agreement
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.plan import JUDGED, rival_stage
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.workspace import Workspace
from services.fusion.stepping import Finished, next_step

# Mutual information, in nats, that noise alone reaches. It keeps quotients of next to nothing near one.
_NOISE = 0.01


def lead(
    workspace: Workspace, alignment: Alignment, information: float, options: RegistrationOptions, grid: SearchGrid
) -> Generator[None, None, float]:
    """By how much an alignment is better than its rivals: ln((I + .01) / (the best rival's I + .01)), I in nats.

    Both mirror images are searched where they would lie if the alignment were right, turned back and equally large, and
    refined briefly; about a tenth of a registration's time. Yields between steps.

    Args:
        workspace: of the two images.
        alignment: what was found.
        information: mutual information of the images under it, see `Agreement.information`.
        options: of the registration; a rival climbs what it climbed.
        grid: of its search.
    """
    turn_deg, scale = turn_and_scale(alignment)
    stage = rival_stage(options, grid, -turn_deg, scale)
    best = 0.0
    for axis in (0, 1):
        mirrored = workspace.mirrored(axis)
        judge = Agreement(mirrored.at(JUDGED), with_targets=False)
        steps = stage.run(mirrored, Alignment.identity(), judge)
        while not isinstance(step := next_step(steps), Finished):
            yield
        best = max(best, judge.information(step.outcome))
        yield
    return math.log((information + _NOISE) / (best + _NOISE))


def turn_and_scale(alignment: Alignment) -> tuple[float, float]:
    """Rotation in degrees and isotropic scale nearest to the affine part of an alignment."""
    left, scales, right = np.linalg.svd(alignment.matrix[:2, :2].numpy())
    rotation = left @ right
    return float(np.rad2deg(np.arctan2(rotation[1, 0], rotation[0, 0]))), float(np.sqrt(scales.prod()))
