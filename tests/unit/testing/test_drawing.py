"""What the fake decoder draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.testing.drawing import SCALES, View, logits, mask
from hilum.types import Box, Point, Prompt

WHOLE = View((60, 80), (192, 256), 256, (0, 0))
LOW_RES = 64


def test_a_box_is_filled() -> None:
    """A box is filled with the pixels whose centres lie in it, edges included."""
    drawn = mask(Prompt(box=Box(9.5, 19.5, 29.5, 39.0)), WHOLE, scale=1, radius_px=5)
    expected = np.zeros((60, 80), np.bool_)
    expected[20:40, 10:30] = True
    assert np.array_equal(drawn, expected)


def test_points_are_discs() -> None:
    """A disc lies around every foreground point, and is cut out around every background point."""
    points = (Point(20, 30), Point(60, 30), Point(20, 30, foreground=False))
    drawn = mask(Prompt(points=points), WHOLE, scale=1, radius_px=6)
    assert not drawn[:, :40].any()
    assert drawn.sum() == pytest.approx(np.pi * 36, rel=0.05)
    around = drawn[24:37, 54:67]
    assert np.array_equal(around, around.T)
    assert around.sum() == drawn.sum()
    boxed = mask(
        Prompt(points=(Point(60, 30, foreground=False),), box=Box(50, 20, 70, 40)), WHOLE, scale=1, radius_px=6
    )
    assert not boxed[30, 60]
    assert boxed[21, 51]


def test_background_alone_is_nothing() -> None:
    """Points outside the target only say nothing about where it is."""
    assert not mask(Prompt(points=(Point(5, 5, foreground=False),)), WHOLE, scale=1, radius_px=6).any()


def test_parts_are_smaller() -> None:
    """The three scales lie within one another."""
    prompt = Prompt(box=Box(10, 10, 70, 50))
    whole, part, subpart = (mask(prompt, WHOLE, scale=scale, radius_px=5) for scale in SCALES)
    assert (part <= whole).all()
    assert (subpart <= part).all()
    assert whole.sum() > part.sum() > subpart.sum() > 0


@given(
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
    st.tuples(st.floats(0, 40), st.floats(0, 30)),
    st.tuples(st.floats(8, 38), st.floats(8, 28)),
)
def test_logits_are_the_mask_s(offset: tuple[int, int], corner: tuple[float, float], size: tuple[float, float]) -> None:
    """The logits, sent back as mask input, draw the mask that they came with, to half a low-resolution pixel."""
    view = View(WHOLE.size, WHOLE.input_size, WHOLE.side, offset)
    x, y = offset[0] + corner[0], offset[1] + corner[1]
    prompt = Prompt(box=Box(x, y, x + size[0], y + size[1]))
    drawn = mask(prompt, view, scale=1, radius_px=5)
    low_res = logits(prompt, view, scale=1, radius_px=5, low_res_size=LOW_RES)
    assert low_res.shape == (LOW_RES, LOW_RES)
    assert set(np.unique(low_res)) <= {-10, 10}
    again = mask(Prompt(mask_input=low_res), view, scale=1, radius_px=5)
    border = 2 * 1.25 * (size[0] + size[1]) + 8
    assert np.count_nonzero(again != drawn) <= border


def test_padding_is_outside() -> None:
    """Logits in the canvas's padding are never inside."""
    low_res = logits(Prompt(box=Box(0, 0, 500, 500)), WHOLE, scale=1, radius_px=5, low_res_size=LOW_RES)
    assert (low_res[:48] == 10).all()
    assert (low_res[48:] == -10).all()
