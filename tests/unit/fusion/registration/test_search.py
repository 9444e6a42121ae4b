"""Tests of the coarse search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hilum.registration_options import LandmarkPair
from services.fusion.registration.alignment import Alignment, Candidate
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.search import Anchor, SearchGrid, landmark_anchor, search, target_anchor
from services.fusion.registration.workspace import Workspace
from tests.unit.fusion.phantoms import body_phantom, motion, moved, other_modality, registration_error

SIZE = (256, 256)


def best(workspace: Workspace, grid: SearchGrid, anchor: Anchor | None = None) -> Candidate[Alignment]:
    found = [c for batch in search(workspace.at(64), grid, anchor) for c in batch]
    return max(found, key=lambda candidate: candidate.similarity)


@pytest.mark.parametrize(
    ("rotation", "scale", "shift"),
    [(0.0, 1.0, (0.0, 0.0)), (10.0, 1.0, (30.0, -20.0)), (-15.0, 1.08, (-40.0, 12.0)), (5.0, 0.92, (0.0, 50.0))],
)
def test_finds_motions_of_the_grid(rotation: float, scale: float, shift: tuple[float, float]) -> None:
    """A motion whose rotation and scale are on the grid is found in another modality to within a coarse pixel."""
    fixed, true = body_phantom(), motion(SIZE, rotation, scale, shift)
    moving = other_modality(moved(fixed, true))
    workspace = Workspace(RegistrationImage(fixed), RegistrationImage(moving), 64, 64)
    found = best(workspace, SearchGrid())
    assert registration_error(workspace.fixed_to_moving_px(found.alignment), true, fixed).mean() < 4.0


def test_scores_lie_in_the_unit_interval() -> None:
    """Every score is a cosine of non-negative tensors; an image with itself scores 1."""
    image = RegistrationImage(body_phantom())
    workspace = Workspace(image, image, 64, 64)
    scores = [c.similarity for batch in search(workspace.at(64), SearchGrid()) for c in batch]
    assert len(scores) == len(SearchGrid().rotations_deg) * len(SearchGrid().scales)
    assert min(scores) >= 0.0
    assert max(scores) == pytest.approx(1.0, abs=0.01)


def test_limits_hold() -> None:
    """No candidate shifts the canvas centre farther than the grid allows."""
    fixed = body_phantom()
    moving = moved(fixed, motion(SIZE, shift=(90.0, 0.0)))
    workspace = Workspace(RegistrationImage(fixed), RegistrationImage(moving), 64, 64)
    grid = replace(SearchGrid(), max_shift=0.2, scales=(1.0,))
    for batch in search(workspace.at(64), grid):
        for candidate in batch:
            shift = (
                np.linalg.inv(candidate.alignment.matrix[:2, :2].numpy()) @ candidate.alignment.matrix[:2, 2].numpy()
            )
            assert np.abs(shift).max() <= 0.2 + 1e-9


def test_anchors_lead_where_images_are_ambiguous() -> None:
    """Of two equal bodies in the moving image, a search from a target or a landmark finds the one that it marks."""
    fixed = np.zeros(SIZE, np.float32)
    fixed[80:176, 16:112] = body_phantom(96)
    moving = fixed.copy()
    moving[80:176, 144:240] = body_phantom(96)
    target_fixed, target_moving = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    target_fixed[110:140, 40:80], target_moving[110:140, 168:208] = True, True
    workspace = Workspace(
        RegistrationImage(fixed, targets=(target_fixed,)),
        RegistrationImage(moving, targets=(target_moving,)),
        64,
        64,
        landmarks=[LandmarkPair((64.0, 128.0), (192.0, 128.0))],
    )
    true = motion(SIZE, shift=(128.0, 0.0))
    grid = replace(SearchGrid(), min_overlap=0.3)
    for anchor in (target_anchor(workspace.at(64)), landmark_anchor(workspace.at(64))):
        found = best(workspace, grid, anchor)
        assert registration_error(workspace.fixed_to_moving_px(found.alignment), true, fixed).mean() < 4.0
