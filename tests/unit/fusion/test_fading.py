"""Tests of a moving image that runs out softly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.fading import FADE_PX, faded
from services.fusion.pyramid import fuse_images

BRIGHT, DARK = np.full((64, 80), 0.8, np.float32), np.full((64, 80), 0.2, np.float32)


def test_no_edge_where_the_moving_image_ends() -> None:
    """The moving image turns into the fixed one over 16 px, so that its end makes no step in the fused picture."""
    covered = np.broadcast_to(np.arange(80) < 50, (64, 80))
    moving = faded(BRIGHT, np.where(covered, DARK, 0).astype(np.float32), covered)
    assert np.array_equal(moving[~covered], BRIGHT[~covered])
    assert np.array_equal(moving[:, : 50 - FADE_PX], DARK[:, : 50 - FADE_PX])
    assert np.abs(np.diff(moving, axis=1)).max() <= 0.6 / FADE_PX + 1e-6
    assert np.abs(np.diff(fuse_images(BRIGHT, moving), axis=1)).max() < 0.05


def test_the_edge_of_the_grid_is_no_end() -> None:
    """An image that covers the whole grid stays as it is."""
    assert np.array_equal(faded(BRIGHT, DARK, np.ones(DARK.shape, bool)), DARK)


@given(st.integers(0, 2**32 - 1))
def test_nothing_is_brighter_or_darker_than_both(seed: int) -> None:
    """Whatever is covered, each pixel lies between the two images."""
    random = np.random.default_rng(seed)
    fixed, moving = random.random((2, 20, 30), np.float32)
    result = faded(fixed, moving, random.random((20, 30)) < random.random())
    assert (result <= np.maximum(fixed, moving)).all()
    assert (result >= np.minimum(fixed, moving)).all()
