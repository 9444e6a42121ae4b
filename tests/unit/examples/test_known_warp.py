"""Tests of warps that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.demo.known_warp import KNOT_SPACING_PX, KnownWarp, pixel_grid

SIZE = (236, 256)
SEEDS = st.integers(0, 10_000)


@settings(max_examples=4, deadline=None)
@given(SEEDS)
def test_there_and_back(seed: int) -> None:
    """A point carried to the moving image and back is where it was, to far less than a pixel."""
    warp = KnownWarp.from_seed(seed, SIZE)
    points = pixel_grid(SIZE)[::9, ::9]
    np.testing.assert_allclose(warp.moving_to_fixed(warp.fixed_to_moving(points)), points, atol=1e-6)


@settings(max_examples=4, deadline=None)
@given(SEEDS)
def test_the_bend_keeps_to_its_stated_range(seed: int) -> None:
    """The bend moves some pixel by 6 to 12 px, none by more, and squeezes none to less than a quarter of its area."""
    warp = KnownWarp.from_seed(seed, SIZE)
    peak = np.linalg.norm(warp.bend(pixel_grid(SIZE)) - pixel_grid(SIZE), axis=-1).max()
    assert 6 - 1e-9 <= peak <= 12 + 1e-9
    assert warp.smallest_jacobian() >= 0.25


@pytest.mark.parametrize("seed", range(6))
def test_a_bend_around_a_point_leaves_the_rest_alone(seed: int) -> None:
    """Around a point the bend is as high as before; 1.5 knot spacings beyond the radius less than .33 px are left."""
    everywhere = KnownWarp.from_seed(seed, SIZE)
    local = everywhere.around((80.0, 150.0), 64.0)
    assert (local.ratio, local.rotation_deg, local.shift_px) == (1.0, everywhere.rotation_deg, everywhere.shift_px)
    peaks = [np.linalg.norm(warp.bend(pixel_grid(SIZE)) - pixel_grid(SIZE), axis=-1) for warp in (everywhere, local)]
    assert peaks[1].max() == pytest.approx(peaks[0].max())
    distance = np.linalg.norm(pixel_grid(SIZE) - (80.0, 150.0), axis=-1)
    assert peaks[1][distance > 64.0 + 1.5 * KNOT_SPACING_PX].max() < 1 / 3
    assert local.smallest_jacobian() > 0.25
