from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.demo.ct_volume import CtVolume
from examples.demo.known_motion import MOTION_SEEDS, KnownMotion, apply
from examples.demo.working_grid import WorkingGrid

GRID = WorkingGrid(236, 256, 1.40625, np.eye(3))
MOTIONS = st.builds(
    KnownMotion,
    rotation_deg=st.floats(-10, 10),
    scale=st.floats(0.9, 1.1),
    translation_mm=st.tuples(st.floats(-28, 28), st.floats(-28, 28)),
)


@given(MOTIONS, st.floats(0, 255), st.floats(0, 235))
def test_motion_and_its_inverse_compose_to_identity(motion: KnownMotion, x: float, y: float) -> None:
    """A fixed point carried to the moving image and back is where it was."""
    point = np.array([[x, y]])
    there = apply(motion.fixed_to_moving(GRID), point)
    np.testing.assert_allclose(apply(motion.moving_to_fixed(GRID), there), point, atol=1e-9)


@given(MOTIONS)
def test_the_centre_moves_by_the_translation_only(motion: KnownMotion) -> None:
    """Rotation and scale act about the centre of the grid."""
    centre = np.array([[127.5, 117.5]])
    moved = apply(motion.fixed_to_moving(GRID), centre)
    np.testing.assert_allclose(moved - centre, [np.array(motion.translation_mm) / GRID.spacing_mm], atol=1e-9)


@given(MOTIONS, st.floats(-150, 150), st.floats(-150, 150))
def test_motion_is_the_same_in_mm_on_every_grid(motion: KnownMotion, x_mm: float, y_mm: float) -> None:
    """A motion is physical: a finer grid shows the same anatomy moved by the same millimetres."""
    finer = WorkingGrid(472, 512, 0.703125, np.eye(3))
    moved_mm = []
    for grid in (GRID, finer):
        centre = np.array([[(grid.width - 1) / 2, (grid.height - 1) / 2]])
        point = centre + np.array([[x_mm, y_mm]]) / grid.spacing_mm
        moved_mm.append((apply(motion.fixed_to_moving(grid), point) - centre) * grid.spacing_mm)
    np.testing.assert_allclose(moved_mm[0], moved_mm[1], atol=1e-9)


@pytest.mark.parametrize("seed", MOTION_SEEDS)
def test_seeds_name_motions_within_the_stated_range(seed: int) -> None:
    """A seed always names the same motion, within +-10 degrees, +-10 % and +-20 px of 256."""
    motion = KnownMotion.from_seed(seed)
    assert motion == KnownMotion.from_seed(seed)
    assert abs(motion.rotation_deg) <= 10
    assert 0.9 <= motion.scale <= 1.1
    assert max(abs(np.array(motion.translation_mm))) / 1.40625 <= 20


def test_resampling_shows_fixed_anatomy_at_its_moved_place(volume: CtVolume, grid: WorkingGrid) -> None:
    """A bright spot of the volume appears in the moved picture where `fixed_to_moving` says."""
    spot = np.zeros(volume.hounsfield.shape[1:])
    spot[59:62, 229:236] = 1.0
    motion = KnownMotion.from_seed(3)

    def centre(image: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[list[float]]:
        y, x = np.mgrid[: grid.height, : grid.width]
        return [[float((x * image).sum() / image.sum()), float((y * image).sum() / image.sum())]]

    fixed = np.array(centre(grid.resample(spot)))
    moving = centre(grid.resample(spot, motion.moving_to_fixed(grid)))
    np.testing.assert_allclose(apply(motion.fixed_to_moving(grid), fixed), moving, atol=0.1)
