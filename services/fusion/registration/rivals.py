"""What chance reaches for two images: rivals that cannot be right, the moving image turned to its mirror image.

A mirror image has the noise, the contrast and the edges of the image itself. How well the fixed image agrees with it is
what a body reaches that is not there, whatever the two modalities are. Where the alignment that was found is right, the
rivals stay behind. Where it is of another body or of noise, they are about as good; where the moving image itself is
mirrored, they are better.

Rivals are judged by mutual information. Structure, which registrations climb if nothing else is asked for, can be bent
into agreement; mutual information rises less with it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from hilum.registration_options import RegistrationOptions
from services.fusion.registration.agreement import Agreement, Information, lead
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.examination import Standing
from services.fusion.registration.plan import JUDGED, rival_stages
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.stages import Stage
from services.fusion.registration.workspace import Workspace
from services.fusion.stepping import Finished, next_step


@dataclass(frozen=True, eq=False)
class Rival:
    """A registration that cannot be right.

    Attributes:
        workspace: with the mirror image as the moving one.
        alignment: where that was placed.
        information: mutual information there, in nats.
    """

    workspace: Workspace
    alignment: Alignment
    information: float

    def lead_of(self, information: float) -> float:
        """By how much what was found is better."""
        return lead(information, self.information)


def standing(
    workspace: Workspace,
    found: Alignment,
    judge: Agreement,
    options: RegistrationOptions,
    grid: SearchGrid,
) -> Generator[None, None, Standing]:
    """How far an alignment stands out, from its neighbours and from its rivals; yields between steps.

    Both mirror images are searched where they would lie if the alignment were right, turned back and equally large,
    and refined briefly. If the alignment is bent and not yet clearly better, the better of them is bent, too, though at
    the coarsest level only: a symmetric body is told from its mirror image by its details.

    Args:
        workspace: of the two images.
        found: the alignment.
        judge: of the two images at JUDGED.
        options: of the registration; a rival climbs what it climbed.
        grid: of its search.
    """
    distinctness, information = judge.distinctness(found), judge.information(found)
    yield
    search, bend = rival_stages(options, grid, *turned_back(found))
    start = Alignment.identity()
    rows = yield from _rival(workspace.mirrored(0), start, search)
    columns = yield from _rival(workspace.mirrored(1), start, search)
    best = max(rows, columns, key=_by_information)
    reached = Standing(distinctness, best.lead_of(information), bent=found.deformation is not None)
    if found.deformation is None or reached.is_clear:
        return reached
    bent = yield from _rival(best.workspace, best.alignment, bend)
    return replace(reached, lead=max(best, bent, key=_by_information).lead_of(information))


def _by_information(rival: Rival) -> float:
    return rival.information


def _rival(workspace: Workspace, start: Alignment, stage: Stage) -> Generator[None, None, Rival]:
    judge = Information(workspace.at(JUDGED))
    steps = stage.run(workspace, start, judge)
    while not isinstance(step := next_step(steps), Finished):
        yield
    return Rival(workspace, step.outcome, judge.of(step.outcome))


def turned_back(alignment: Alignment) -> tuple[float, float]:
    """The rotation in degrees that undoes that of an alignment, and its isotropic scale; both nearest to its matrix."""
    left, scales, right = np.linalg.svd(alignment.matrix[:2, :2].numpy())
    rotation = left @ right
    return float(np.rad2deg(np.arctan2(-rotation[1, 0], rotation[0, 0]))), float(np.sqrt(scales.prod()))
