"""Tests of the checkerboard."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.checkerboard import checkerboard


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 60))
def test_tiles_take_turns(height: int, width: int, tile_px: int) -> None:
    """Tiles of the asked size take turns from the upper left, which is the fixed image's; uncovered ones are fixed."""
    fixed, moving = np.full((height, width), 10, np.uint8), np.full((height, width), 200, np.uint8)
    coverage = np.random.default_rng(0).random((height, width)) < 0.7
    board = checkerboard(fixed, moving, coverage, tile_px)
    for y, x in np.ndindex(height, width):
        of_moving = (y // tile_px + x // tile_px) % 2 == 1
        assert board[y, x] == (200 if of_moving and coverage[y, x] else 10)


def test_the_longer_side_has_eight_tiles() -> None:
    """Without a size the tiles are an eighth of the longer side."""
    fixed, moving = np.zeros((40, 160), np.uint8), np.full((40, 160), 255, np.uint8)
    board = checkerboard(fixed, moving, np.ones((40, 160), bool))
    assert np.flatnonzero(np.diff(board[0].astype(int))).tolist() == [19, 39, 59, 79, 99, 119, 139]
