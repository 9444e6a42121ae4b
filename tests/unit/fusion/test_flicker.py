"""Tests of flicker frames."""

from __future__ import annotations

import numpy as np

from services.fusion.flicker import flicker


def test_both_frames_show_what_they_are_of() -> None:
    """The first frame is the fixed image; the second the moving one, and the fixed where that has no pixels."""
    fixed, moving = np.random.default_rng(0).integers(0, 256, (2, 9, 7), dtype=np.uint8)
    coverage = np.random.default_rng(1).random((9, 7)) < 0.5
    first, second = flicker(fixed, moving, coverage)
    assert np.array_equal(first, fixed)
    assert np.array_equal(second[coverage], moving[coverage])
    assert np.array_equal(second[~coverage], fixed[~coverage])
