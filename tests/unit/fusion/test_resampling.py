"""Tests of resampling onto the fixed grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.displacement_field import DisplacementField
from hilum.geometry import Float
from hilum.warp import Warp
from services.fusion.resampling import resample
from tests.unit.fusion.phantoms import body_phantom, motion, moved


def moving_by(size: tuple[int, int], **how: Any) -> Warp:
    """The map of a motion."""
    return Warp(motion(size, **how))


sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


@given(sizes, st.sampled_from(["uint8", "uint16", "int16", "float32", "bool"]), st.booleans())
def test_identity_returns_the_image(size: tuple[int, int], dtype: str, nearest: bool) -> None:
    """Under the identity every dtype and size comes back bit for bit, wholly covered."""
    image = np.random.default_rng(0).integers(0, 200, size).astype(dtype)
    resampled = resample(image, Warp(np.eye(3)), size, nearest=nearest)
    assert resampled.pixels.dtype == image.dtype
    assert np.array_equal(resampled.pixels, image)
    assert resampled.coverage.all()


@given(sizes, st.integers(-40, 40), st.integers(-40, 40))
def test_whole_pixel_shift_moves_pixels(size: tuple[int, int], right: int, down: int) -> None:
    """A shift by whole pixels only moves them: fixed pixel (x, y) shows moving pixel (x + right, y + down)."""
    image = np.random.default_rng(1).integers(1, 1000, size).astype(np.int16)
    resampled = resample(image, moving_by(size, shift=(right, down)), size, background=-7)
    height, width = size
    for y, x in np.ndindex(height, width):
        inside = 0 <= x + right < width and 0 <= y + down < height
        assert resampled.coverage[y, x] == inside
        assert resampled.pixels[y, x] == (image[y + down, x + right] if inside else -7)


@given(st.floats(-40, 40), st.floats(0.6, 1.6), st.tuples(st.floats(-9, 9), st.floats(-9, 9)), st.floats(-1, 1))
def test_linear_interpolation_is_exact_on_ramps(
    rotation: float, scale: float, shift: tuple[float, float], slope: float
) -> None:
    """A linear ramp has, at every covered inner pixel, the value of its exact position: no half-pixel is lost."""
    x, y = np.meshgrid(np.arange(30.0), np.arange(20.0))
    ramp = 3.0 * x + slope * y
    matrix = motion((20, 30), rotation, scale, shift)
    resampled = resample(ramp, Warp(matrix), (25, 35))
    u, v = np.meshgrid(np.arange(35.0), np.arange(25.0))
    column = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]
    row = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]
    inner = (column >= 0) & (column <= 29) & (row >= 0) & (row <= 19)
    assert resampled.coverage[inner].all()
    assert np.allclose(resampled.pixels[inner], (3.0 * column + slope * row)[inner], atol=1e-6)


def test_resampling_undoes_a_motion() -> None:
    """Resampling the moved picture under fixed_to_moving gives the picture back."""
    picture = body_phantom(128)
    matrix = motion((128, 128), 8.0, 1.1, (6.0, -4.0))
    resampled = resample(moved(picture, matrix), Warp(matrix), (128, 128))
    off = resample(moved(picture, matrix), Warp(matrix @ motion((128, 128), shift=(0.5, 0.5))), (128, 128))
    error, error_off = (np.abs(r.pixels - picture)[r.coverage].mean() for r in (resampled, off))
    assert error < 0.004
    assert error_off > 2 * error


def test_padding_is_not_mixed_in() -> None:
    """Padding neither shows nor bleeds into the pixels next to it."""
    image = np.full((10, 10), 50.0, np.float32)
    valid = np.ones((10, 10), bool)
    image[:, 6:], valid[:, 6:] = -2000.0, False
    resampled = resample(image, moving_by((10, 10), shift=(0.3, 0.0)), (10, 10), valid=valid, background=1.0)
    assert set(np.unique(resampled.pixels)) == {1.0, 50.0}
    assert np.array_equal(resampled.coverage, resampled.pixels == 50.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_stay_behind_the_mask(value: float) -> None:
    """NaN and infinity that are marked invalid do not reach any pixel."""
    image = np.full((10, 10), 50.0, np.float32)
    image[4, 4] = value
    resampled = resample(image, moving_by((10, 10), rotation_deg=20.0), (10, 10), valid=np.isfinite(image))
    assert np.isfinite(resampled.pixels).all()


def test_masks_stay_masks() -> None:
    """A mask keeps its area under a rotation and is false outside the moving image."""
    mask = body_phantom(128) > 0.1
    turned = resample(mask, moving_by((128, 128), rotation_deg=30.0), (128, 128)).pixels
    assert turned.dtype == np.bool_
    assert turned.sum() == pytest.approx(mask.sum(), rel=0.01)
    assert not resample(np.ones((8, 8), bool), moving_by((8, 8), shift=(100.0, 0.0)), (8, 8)).pixels.any()


def test_integers_are_rounded_and_kept_in_range() -> None:
    """Interpolated integers are rounded, and a background out of range is clipped, never wrapped around."""
    image = np.array([[0, 255]], np.uint8)
    middle = resample(image, moving_by((1, 2), shift=(0.4, 0.0)), (1, 2), background=300)
    assert middle.pixels.tolist() == [[102, 255]]
    outside = resample(image, moving_by((1, 2), shift=(50.0, 0.0)), (1, 2), background=300)
    assert outside.pixels.tolist() == [[255, 255]]


@pytest.mark.parametrize("background", [1e300, -1e300])
def test_background_beyond_the_type_is_its_outermost_value(background: float) -> None:
    """A background that float32 cannot hold becomes its largest or smallest number, not infinity."""
    outside = resample(np.ones((2, 2), np.float32), moving_by((2, 2), shift=(50.0, 0.0)), (2, 2), background=background)
    assert (outside.pixels == np.sign(background) * np.finfo(np.float32).max).all()


@given(st.integers(0, 1000), st.booleans())
def test_a_displacement_field_bends_the_grid(seed: int, coarse: bool) -> None:
    """A ramp resampled through a deformable map has the value of the place that the map gives, field on any grid."""
    random = np.random.default_rng(seed)
    grid = np.diag([2.0, 2.0, 1.0]) if coarse else None
    field = DisplacementField(random.normal(size=(2, 10, 15) if coarse else (2, 20, 30)), grid)
    warp = Warp(motion((20, 30), 5.0, 1.1, (2.0, -1.0)), field)
    x, y = np.meshgrid(np.arange(40.0), np.arange(30.0))
    resampled = resample(3.0 * x - y, warp, (20, 30), background=np.nan)
    rows, columns = np.indices((20, 30))
    places: Float = warp.apply(np.stack([columns.ravel(), rows.ravel()], axis=1)).reshape(20, 30, 2)
    inner = ((places >= 0) & (places <= (39, 29))).all(axis=-1)
    assert inner.any()
    np.testing.assert_allclose(resampled.pixels[inner], (places @ (3.0, -1.0))[inner], atol=1e-6)
    outside = ((places < -0.5) | (places > (39.5, 29.5))).any(axis=-1)
    assert np.array_equal(resampled.coverage, ~outside)
