from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from examples.demo.accuracy import dice, measure
from examples.demo.ct_volume import CtVolume
from examples.demo.truth import Mask
from hilum import Box, Image

MASKS = hnp.arrays(np.bool_, (6, 7))


@given(MASKS, MASKS)
def test_dice_is_symmetric_and_between_zero_and_one(first: Mask, second: Mask) -> None:
    """Dice does not depend on the order, is 1 for equal masks and 0 for a mask and its complement."""
    assert 0 <= dice(first, second) == dice(second, first) <= 1
    assert dice(first, first) == 1
    assert dice(first, ~first) == 0


@given(st.integers(0, 9), st.integers(0, 9))
def test_dice_is_twice_the_overlap_over_the_sum_of_areas(first: int, second: int) -> None:
    """Nested masks of known areas give the value of the definition."""
    line = np.arange(10)
    expected = 2 * min(first, second) / (first + second) if first + second else 1.0
    assert dice(line < first, line < second) == expected


def _filled(image: Image, box: Box) -> Mask:
    y, x = np.mgrid[: image.size[0], : image.size[1]]
    return np.asarray((x >= box.x_min) & (x <= box.x_max) & (y >= box.y_min) & (y <= box.y_max), dtype=np.bool_)


def test_the_prompt_itself_does_not_pass(volume: CtVolume) -> None:
    """Returning the filled box misses every requirement by far: the numbers ask for an outline."""
    rows = list(measure(volume, _filled, width=256))
    asked = {(row.target, row.required) for row in rows if row.required is not None}
    assert asked == {
        ("liver", 0.93),
        ("right lung", 0.92),
        ("left lung", 0.92),
        ("right lung", 0.85),
        ("left lung", 0.85),
    }
    assert all(0.3 < row.mean < row.required - 0.05 for row in rows if row.required is not None)
    assert all(len(row.dice) == 10 for row in rows)
