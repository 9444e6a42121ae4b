"""Tests of affine refinement of volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.displacement_field import grid_points
from services.fusion.stepping import finished
from services.fusion.volume_registration.affine import (
    AFFINE_DEGREES,
    RIGID_DEGREES,
    SIMILARITY_DEGREES,
    AffineLevel,
    correction,
    refine_affine,
)
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.normal_equations import Measure
from tests.unit.fusion.volume_registration.bodies import body, other_modality, pair, resampled

SIDE = 32


@given(st.lists(st.floats(-0.3, 0.3), min_size=12, max_size=12))
@settings(deadline=None)
def test_corrections(values: list[float]) -> None:
    """Six numbers turn and shift, seven scale alike, and opposite numbers undo each other."""
    amounts = torch.tensor(values, dtype=torch.float64)
    turn = correction(amounts[:RIGID_DEGREES])[:3, :3]
    assert torch.allclose(turn.T @ turn, torch.eye(3, dtype=torch.float64), atol=1e-12)
    scaled = correction(amounts[:SIMILARITY_DEGREES])[:3, :3]
    scale = torch.linalg.det(scaled) ** (1 / 3)
    assert torch.allclose(scaled.T @ scaled, scale**2 * torch.eye(3, dtype=torch.float64), atol=1e-12)
    whole = correction(amounts)
    assert torch.allclose(whole @ correction(-amounts), torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert whole[3].tolist() == [0, 0, 0, 1]


def test_twelve_numbers_make_any_matrix() -> None:
    """No two generators do the same: together they span all affine motions."""
    units = torch.eye(AFFINE_DEGREES, dtype=torch.float64) * 1e-6
    moved = torch.stack([(correction(unit) - torch.eye(4, dtype=torch.float64))[:3].flatten() for unit in units])
    assert np.linalg.matrix_rank(moved.numpy() * 1e6, tol=1e-3) == AFFINE_DEGREES


@pytest.mark.parametrize("measure", list(Measure))
@pytest.mark.parametrize("degrees", [RIGID_DEGREES, AFFINE_DEGREES])
def test_finds_a_known_motion_across_modalities(measure: Measure, degrees: int) -> None:
    """From two voxels off, a turn and shift, and for twelve degrees a stretch, are found to less than a voxel."""
    amounts = torch.tensor([0.06, -0.04, 0.05, 0.06, -0.05, 0.04, 0.02, 0.03, -0.02, 0.02, 0.0, -0.02])[:degrees]
    true = Alignment(correction(amounts.double()))
    voxels = body(SIDE)
    inverse = Alignment(torch.linalg.inv(true.matrix))
    points = (2 * grid_points((SIDE,) * 3) + 1) / SIDE - 1
    places = (((inverse.apply(torch.from_numpy(points)) + 1) * SIDE - 1) / 2).numpy()
    moving = resampled(voxels, places.T.reshape(3, SIDE, SIDE, SIDE))
    level = AffineLevel(SIDE, 12, measure, degrees)
    found = finished(refine_affine(pair(voxels, other_modality(moving)), Alignment.identity(), level))
    corners = torch.tensor([[x, y, z] for x in (-0.6, 0.6) for y in (-0.6, 0.6) for z in (-0.6, 0.6)]).double()
    missed_px = (found.alignment.apply(corners) - true.apply(corners)).norm(dim=1) * SIDE / 2
    start_px = (corners - true.apply(corners)).norm(dim=1) * SIDE / 2
    assert float(missed_px.max()) < 1.0
    assert float(missed_px.mean()) < 0.5 * float(start_px.mean())
