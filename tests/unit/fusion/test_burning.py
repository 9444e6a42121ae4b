"""Tests of words drawn into pictures."""

from __future__ import annotations

import numpy as np
import pytest

from services.fusion.burning import burn


@pytest.mark.parametrize("shape", [(200, 300), (200, 300, 3), (9, 400), (5, 3), (1, 1), (1, 1, 3)])
def test_words_stand_in_a_picture_of_any_size(shape: tuple[int, ...]) -> None:
    """Words are white on a black band, in grey and in colour; the picture that was given stays as it is."""
    picture = np.full(shape, 100, np.uint8)
    burned = burn(picture, ["VIEWS_DIFFER", "LOW_OVERLAP"])
    assert burned.shape == shape
    assert (picture == 100).all()
    assert (burned != 100).any()
    if min(shape[:2]) >= 100:
        band = burned[150:]
        assert band.min() == 0
        assert band.max() > 150
        assert (burned[:100] == 100).all()
    if len(shape) == 3:
        assert (burned == burned[..., :1]).all()


def test_without_words_nothing_changes() -> None:
    """No flag, no band."""
    picture = np.full((20, 30), 100, np.uint8)
    assert np.array_equal(burn(picture, ()), picture)
