"""modeling.simulated_prompts: prompts that could have been given for the mask they come from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hilum.types import BoolMask
from modeling.sample import tight_box
from modeling.simulated_prompts import SMALL_EXTENT, correcting_click, ground_box, jittered_box, random_click

SIDE = 64
discs = st.tuples(st.integers(0, 63), st.integers(0, 63), st.integers(1, 25))


def _disc(at: tuple[int, int, int]) -> BoolMask:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc: BoolMask = (columns - at[0]) ** 2 + (rows - at[1]) ** 2 <= at[2] ** 2
    return disc


@given(discs, st.integers(0, 100))
def test_a_click_lies_in_the_mask(at: tuple[int, int, int], seed: int) -> None:
    """A random click is one foreground point on a pixel of the mask."""
    mask = _disc(at)
    prompt = random_click(mask, np.random.default_rng(seed))
    (x, y), (label,) = prompt.points[0], prompt.labels
    assert mask[int(y), int(x)]
    assert (x, y) == (int(x), int(y))
    assert label == 1
    assert prompt.box is None


@given(discs, st.integers(0, 100))
def test_an_imprecise_click_lies_in_a_small_mask_s_box(at: tuple[int, int, int], seed: int) -> None:
    """It falls in the tight box of a small mask, beside the mask too, and on the mask itself where that is large."""
    mask = _disc(at)
    box = tight_box(mask)
    x, y = random_click(mask, np.random.default_rng(seed), imprecise=1.0).points[0]
    assert box.x_min < x < box.x_max
    assert box.y_min < y < box.y_max
    if max(box.x_max - box.x_min, box.y_max - box.y_min) >= SMALL_EXTENT:
        assert mask[int(y), int(x)]


def test_some_imprecise_clicks_miss_a_small_mask() -> None:
    """Of a hundred, about one in five falls in the corners that a disc leaves of its box; none without imprecision."""
    mask = _disc((30, 30, 8))
    for imprecise, least, most in ((0.0, 0, 0), (1.0, 8, 40)):
        clicks = [random_click(mask, np.random.default_rng(seed), imprecise).points[0] for seed in range(100)]
        missed = sum(not mask[int(y), int(x)] for x, y in clicks)
        assert least <= missed <= most


@given(discs, st.integers(0, 100))
def test_a_jittered_box_stays_near_the_tight_one(at: tuple[int, int, int], seed: int) -> None:
    """No edge moves by more than asked, nor by more than a tenth of its side (or a pixel)."""
    mask = _disc(at)
    box = jittered_box(mask, np.random.default_rng(seed), 5).box
    tight = tight_box(mask)
    assert box is not None
    sides = np.array([tight.x_max - tight.x_min, tight.y_max - tight.y_min] * 2)
    moved = np.abs(box - [tight.x_min, tight.y_min, tight.x_max, tight.y_max])
    assert (moved <= np.minimum(5, np.maximum(0.1 * sides, 1)) + 1e-5).all()


@given(discs, st.integers(0, 100))
def test_a_ground_box_holds_much_of_the_target_and_stays_on_the_canvas(at: tuple[int, int, int], seed: int) -> None:
    """BreastSAM's box is wider than the tight one and never leaves the canvas, whose edges lie at -.5."""
    box = ground_box(_disc(at), np.random.default_rng(seed)).box
    assert box is not None
    assert (box >= -0.5).all()
    assert (box <= SIDE - 0.5).all()
    assert (box[:2] <= box[2:]).all()


@given(discs, discs, st.booleans())
def test_a_correcting_click_lies_in_an_error_and_says_which(
    first: tuple[int, int, int], second: tuple[int, int, int], deepest: bool
) -> None:
    """It is foreground where the mask was missed, background where too much was found, None where nothing is wrong."""
    found, mask = _disc(first), _disc(second)
    click = correcting_click(found, mask, None if deepest else np.random.default_rng(0))
    if (found == mask).all():
        assert click is None
        return
    assert click is not None
    x, y, foreground = click
    assert found[int(y), int(x)] != mask[int(y), int(x)]
    assert foreground == mask[int(y), int(x)]


def test_the_deepest_point_of_the_largest_error_comes_next() -> None:
    """Two parts are missed: the click goes to the middle of the larger."""
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[10:21, 10:21] = True
    mask[40:43, 40:43] = True
    assert correcting_click(np.zeros_like(mask), mask) == (15.0, 15.0, True)
