"""Tests of the alpha blend."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.blend import alpha_blend


@given(st.floats(0, 1), st.integers(0, 255), st.integers(0, 255))
def test_the_blend_is_the_weighted_mean_where_both_have_pixels(opacity: float, below: int, above: int) -> None:
    """Opacity is the moving image's weight; where that has no pixels the fixed image stays as it is."""
    fixed, moving = np.full((4, 6), below, np.uint8), np.full((4, 6), above, np.uint8)
    coverage = np.arange(6)[None] * np.ones((4, 1)) < 3
    shown = alpha_blend(fixed, moving, coverage, opacity)
    assert np.abs(shown[coverage] - (opacity * above + (1 - opacity) * below)).max() <= 0.51
    assert (shown[~coverage] == below).all()
