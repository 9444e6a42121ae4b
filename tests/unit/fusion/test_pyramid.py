"""Tests of the Laplacian pyramid fusion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.pyramid import BaseRule, FusionRule, LaplacianPyramid, fuse_images
from tests.unit.fusion.phantoms import Picture, body_phantom

sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))
levels = st.integers(1, 6)


def noise(size: tuple[int, int], seed: int) -> Picture:
    return np.random.default_rng(seed).random(size, np.float32)


@given(sizes, levels, st.integers(0, 100))
def test_pyramid_reconstructs_any_size(size: tuple[int, int], count: int, seed: int) -> None:
    """Decomposition and inverse lose nothing, whatever the size and the number of levels."""
    image = noise(size, seed)
    assert np.allclose(LaplacianPyramid.of(image, count).reconstruct(), image, atol=2e-6)


@given(sizes, levels)
def test_every_band_halves_the_size(size: tuple[int, int], count: int) -> None:
    """Each band has half the size of the one before, rounded up, and no band is made of a single row or column."""
    pyramid = LaplacianPyramid.of(noise(size, 0), count)
    shapes = [band.shape for band in (*pyramid.details, pyramid.base)]
    assert shapes[0] == size
    assert len(pyramid.details) <= count
    for larger, smaller in itertools.pairwise(shapes):
        assert smaller == tuple((side + 1) // 2 for side in larger)


@given(sizes, levels, st.sampled_from(BaseRule), st.integers(0, 100))
def test_equal_images_fuse_to_themselves(size: tuple[int, int], count: int, rule: BaseRule, seed: int) -> None:
    """Fusing an image with itself gives that image."""
    image = noise(size, seed)
    fused = fuse_images(image, image, FusionRule(levels=count, base_rule=rule))
    assert np.allclose(fused, image, atol=2e-6)


@given(sizes, levels, st.sampled_from(BaseRule), st.integers(0, 100))
def test_fused_image_is_symmetric_and_in_range(size: tuple[int, int], count: int, rule: BaseRule, seed: int) -> None:
    """The result does not depend on which image is called fixed, and stays in [0, 1]."""
    first, second = noise(size, seed), noise(size, seed + 1)
    how = FusionRule(levels=count, base_rule=rule)
    fused = fuse_images(first, second, how)
    assert fused.dtype == np.float32
    assert fused.min() >= 0.0
    assert fused.max() <= 1.0
    assert np.allclose(fused, fuse_images(second, first, how), atol=1e-5)


def test_background_of_both_stays_black() -> None:
    """Where both images are background nothing is drawn, though neighbouring edges reach there in the bands."""
    first = body_phantom(128)
    first[first < 0.02] = 0.0
    second = np.where(first > 0.5, 1.0, 0.0).astype(np.float32)
    background = (first == 0.0) & (second == 0.0)
    fused = fuse_images(first, second)
    assert background.sum() > 1000
    assert (fused[background] == 0.0).all()
    assert fused[~background].max() > 0.8


def test_detail_of_either_image_survives() -> None:
    """Fine structure that only one image shows is as strong in the result."""
    stripes = 0.5 + 0.2 * np.sin(np.arange(128, dtype=np.float32) * 2.0)
    first = np.full((128, 128), 0.5, np.float32)
    second = first.copy()
    first[:, :64] = stripes[None, :64]
    second[:, 64:] = stripes[None, 64:]
    fused = fuse_images(first, second, FusionRule(base_rule=BaseRule.AVERAGE))
    for half in (slice(8, 56), slice(72, 120)):
        assert fused[:, half].std() == pytest.approx(float(stripes[half].std()), rel=0.1)


def test_base_rules_differ_as_named() -> None:
    """Of two flat images MAXIMUM shows the brighter one and AVERAGE the mean."""
    dark, bright = np.full((32, 40), 0.2, np.float32), np.full((32, 40), 0.8, np.float32)
    assert np.allclose(fuse_images(dark, bright), 0.8, atol=1e-6)
    assert np.allclose(fuse_images(dark, bright, FusionRule(base_rule=BaseRule.AVERAGE)), 0.5, atol=1e-6)


def test_no_edge_where_the_moving_image_ends() -> None:
    """Far outside the moving image's coverage the fixed image is shown, and its end is not fused as an edge."""
    fixed = np.full((64, 64), 0.5, np.float32)
    moving = np.where(np.arange(64) < 32, np.float32(0.5), np.float32(0.0)) * np.ones((64, 1), np.float32)
    coverage = np.broadcast_to(np.arange(64) < 32, (64, 64))
    assert np.allclose(fuse_images(fixed, moving, coverage=coverage), 0.5, atol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: FusionRule(levels=0),
        lambda: FusionRule(levels=7),
        lambda: FusionRule(window=4),
        lambda: FusionRule(match_threshold=1.0),
    ],
)
def test_impossible_rules_are_refused(build: type[FusionRule]) -> None:
    """Rules out of range are refused when they are made."""
    with pytest.raises(ValueError, match="must"):
        build()


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_values_out_of_range_are_refused(value: float) -> None:
    """Grey levels outside [0, 1] are refused instead of being clipped in silence."""
    image = np.full((8, 8), 0.5, np.float32)
    wrong = image.copy()
    wrong[3, 3] = value
    with pytest.raises(ValueError, match="grey levels"):
        fuse_images(image, wrong)
