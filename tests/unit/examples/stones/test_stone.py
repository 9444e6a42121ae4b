"""Tests of synthetic stones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from examples.stones.stone import HOUNSFIELD, SIZE_MM, Stone

SEEDS = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_stone_is_as_long_as_it_says(seed: int) -> None:
    """The two points of a stone that are farthest apart are its size apart, within the sampling."""
    stone = Stone.drawn(np.random.default_rng(seed))
    share = stone.rasterised((1.0, 1.0, 1.0), np.zeros(3)).share
    assert SIZE_MM[0] <= stone.size_mm <= SIZE_MM[1]
    assert HOUNSFIELD[0] <= stone.hounsfield <= HOUNSFIELD[1]
    longest = pdist(np.argwhere(share > 0).astype(np.float64)).max()
    assert abs(longest - stone.size_mm) < np.sqrt(3)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, offset=st.tuples(*[st.floats(-1.25, 1.25)] * 3))
def test_voxels_hold_the_stone_wherever_it_lies(seed: int, offset: tuple[float, float, float]) -> None:
    """Shifted within a voxel, a stone keeps its volume to 3 %, and its centroid goes along; nothing is cut off."""
    spacing = (0.7, 2.5, 0.7)
    stone = Stone.drawn(np.random.default_rng(seed))
    still, shifted = stone.rasterised(spacing, np.zeros(3)), stone.rasterised(spacing, np.array(offset))
    np.testing.assert_allclose(shifted.share.sum(), still.share.sum(), rtol=0.03)
    moved_mm = (shifted.centroid - still.centroid) * spacing
    np.testing.assert_allclose(moved_mm, offset, atol=0.1)
    # The raster's own centroid is that of its shares.
    index = np.indices(shifted.share.shape).reshape(3, -1)
    middle = (np.array(shifted.share.shape) - 1) / 2
    weighted = (index * shifted.share.ravel()).sum(axis=1) / shifted.share.sum() - middle
    np.testing.assert_allclose(weighted * spacing, shifted.centroid * spacing, atol=0.5)


def test_half_of_the_stones_are_lobed() -> None:
    """Both shapes are drawn, about as often."""
    kinds = [Stone.drawn(np.random.default_rng(seed)).kind for seed in range(40)]
    assert 10 <= kinds.count("lobed") <= 30
