"""Tests of bodies that are turned out of the plane."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.tilted_body import TiltedBody, drawn_turn
from examples.demo.ct_volume import CtVolume
from examples.demo.simulated_xray import material_paths
from examples.demo.working_grid import WorkingGrid
from hilum.geometry import PatientFrame

SPACING_MM = (3.0, 2.0, 2.0)
FRAME = PatientFrame((0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)), (2.0, 2.0, 3.0))


def block(front: int, back: int) -> CtVolume:
    """Soft tissue between two depths, in air."""
    hounsfield = np.full((40, 60, 60), -1000, np.int16)
    hounsfield[front:back, 20:40, 20:40] = 40
    return CtVolume(hounsfield, np.zeros(hounsfield.shape, np.uint8), SPACING_MM, FRAME)


def test_no_turn_gives_the_paths_of_the_body_itself() -> None:
    """Without a turn, paths are those of the demo's own forward model, and pixels stay where they are."""
    volume = block(10, 30)
    body, straight = TiltedBody.of(volume), material_paths(volume)
    found = body.paths(np.eye(3))
    np.testing.assert_allclose(found.soft, straight.soft, atol=1e-4)
    grid = WorkingGrid.over(volume, 60)
    y, x = np.mgrid[: grid.height, : grid.width]
    np.testing.assert_allclose(body.seen_at(np.eye(3), grid), np.stack([x, y], axis=-1), atol=1e-6)


@pytest.mark.parametrize("angles", [(3.0, 0.0), (0.0, 3.0), (-2.0, 1.0)])
def test_the_block_is_seen_where_the_truth_says(angles: tuple[float, float]) -> None:
    """A block away from the middle depth moves in the picture to where the truth puts it."""
    volume = block(2, 8)
    body, grid = TiltedBody.of(volume), WorkingGrid.over(volume, 60)
    turn = np.asarray(Rotation.from_euler("xy", angles, degrees=True).as_matrix())
    before, after = (ndimage.center_of_mass(body.paths(each).soft) for each in (np.eye(3), turn))
    moved = np.array([after[1] - before[1], after[0] - before[0]])
    assert np.linalg.norm(moved) > 0.5
    row, column = (round(at) for at in before)
    truth = body.seen_at(turn, grid)[row, column] - (column, row)
    np.testing.assert_allclose(moved, truth, atol=0.15)


def test_a_deeper_body_is_spread_further() -> None:
    """What no planar map can undo grows with the depth that a ray goes through."""
    turn = drawn_turn(1)
    spreads = []
    for front, back in ((16, 24), (4, 36)):
        volume = block(front, back)
        spreads.append(TiltedBody.of(volume).spread_px(turn, WorkingGrid.over(volume, 60))[30, 30])
    assert spreads[1] > 2 * spreads[0] > 0
