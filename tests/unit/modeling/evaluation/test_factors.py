"""modeling.evaluation.factors: what makes a target hard."""

import numpy as np
import pytest

from modeling.evaluation.factors import NAMES, factors

ROWS, COLUMNS = np.mgrid[:200, :200]


def test_a_disc() -> None:
    """A bright disc: its share of the image, its contrast, no longer than wide, hardly complex."""
    disc = (ROWS - 100) ** 2 + (COLUMNS - 100) ** 2 <= 40**2
    found = factors(np.where(disc, 151, 100).astype(np.uint8), disc)
    assert tuple(found) == NAMES
    assert found["size"] == pytest.approx(np.pi * 40**2 / 200**2, rel=0.01)
    assert found["contrast"] == pytest.approx(51 / 255)
    assert found["aspect_ratio"] == pytest.approx(1, abs=0.03)
    assert found["complexity"] == pytest.approx(1.1, abs=0.1)


def test_long_and_ragged_targets_are_more_complex() -> None:
    """A bar of 80 by 20 px has aspect ratio 4; a comb is more complex than its bar; two pieces more than one."""
    grey = np.zeros((200, 200, 3), np.uint8)
    bar = (np.abs(ROWS - 100) <= 10) & (np.abs(COLUMNS - 100) <= 40)
    comb = bar & ~((ROWS > 95) & (COLUMNS % 8 < 4))
    found = factors(grey, bar)
    assert found["aspect_ratio"] == pytest.approx(4, rel=0.05)
    assert factors(grey, comb)["complexity"] > 2 * found["complexity"]
    assert factors(grey, bar & (np.abs(COLUMNS - 100) > 5))["complexity"] > found["complexity"]


def test_a_target_without_surroundings_has_no_contrast() -> None:
    """Contrast of a target that fills its image is not a number, and the other factors are."""
    found = factors(np.zeros((20, 20), np.uint8), np.ones((20, 20), np.bool_))
    assert np.isnan(found["contrast"])
    assert found["size"] == 1
