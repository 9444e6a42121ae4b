"""Tests of the colour overlay."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.overlay import AMBER_RGB, colour_overlay

FIXED = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


@given(st.floats(0, 1))
def test_where_the_moving_image_is_black_the_fixed_image_is_grey(opacity: float) -> None:
    """Nothing is tinted where the moving image shows nothing, or has no pixels."""
    shown = colour_overlay(FIXED, np.zeros_like(FIXED), opacity)
    assert shown.shape == (20, 30, 3)
    assert (shown == FIXED[..., None]).all()


def test_opacity_is_that_of_the_moving_image_s_white() -> None:
    """At opacity 1 the moving image's white hides the fixed image, at 0 it is not seen, and half its grey is half."""
    white = np.full_like(FIXED, 255)
    assert (colour_overlay(FIXED, white, 1.0) == AMBER_RGB).all()
    assert (colour_overlay(FIXED, white, 0.0) == FIXED[..., None]).all()
    half = colour_overlay(np.zeros_like(FIXED), np.full_like(FIXED, 51), 0.5)
    assert half[0, 0].tolist() == [round(0.1 * channel) for channel in AMBER_RGB]
