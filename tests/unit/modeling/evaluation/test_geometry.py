"""modeling.evaluation.geometry: where clicks go and what boxes become."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import distance_transform_edt

from hilum.types import BoolMask, Box, Point
from modeling.evaluation import geometry

SIZE = (40, 60)
# (x + 1) - 1 need not be x.
ROUNDING = 1e-12
MASKS = arrays.arrays(np.bool_, (12, 15), elements=st.booleans())
SEEDS = st.integers(0, 2**32 - 1)


def _rectangle(rows: slice, columns: slice) -> BoolMask:
    mask = np.zeros(SIZE, np.bool_)
    mask[rows, columns] = True
    return mask


def _deepest(mask: BoolMask) -> Point:
    """By SciPy's exact distances in the whole image."""
    squared = np.rint(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] ** 2)
    row, column = np.unravel_index(int(squared.argmax()), mask.shape)
    return Point(float(column), float(row))


def test_the_deepest_point_of_a_rectangle_lies_on_its_middle_line() -> None:
    """The deepest point is as far from the rectangle's long sides as can be, and is a pixel of it."""
    point = geometry.deepest(_rectangle(slice(10, 21), slice(5, 50)))
    assert point.y == 15
    assert 10 <= point.x <= 44


def test_the_image_border_counts_as_background() -> None:
    """A mask that fills the image is deepest in the image's middle, not in a corner."""
    point = geometry.deepest(np.ones((41, 41), np.bool_))
    assert (point.x, point.y) == (20, 20)


def test_the_next_click_goes_where_most_is_missing_or_too_much() -> None:
    """The larger error decides: foreground where the mask lacks it, background where it has too much."""
    truth = _rectangle(slice(5, 25), slice(5, 25))
    missing = truth.copy()
    missing[:, 15:] = False
    click = geometry.next_click(truth, missing)
    assert click is not None
    assert click.foreground
    assert click.x >= 15
    too_much = truth | _rectangle(slice(5, 25), slice(30, 55))
    click = geometry.next_click(truth, too_much)
    assert click is not None
    assert not click.foreground
    assert click.x >= 30


@settings(deadline=None)
@given(MASKS, MASKS)
def test_the_next_click_is_always_in_the_error(truth: BoolMask, mask: BoolMask) -> None:
    """A next click exists just where truth and mask differ, lies on a wrong pixel, and says what is right there."""
    click = geometry.next_click(truth, mask)
    if click is None:
        assert (truth == mask).all()
    else:
        row, column = int(click.y), int(click.x)
        assert truth[row, column] != mask[row, column]
        assert click.foreground == truth[row, column]


@settings(deadline=None)
@given(MASKS, MASKS, st.integers(0, 7), st.integers(0, 7))
def test_the_next_click_is_that_of_the_whole_image(truth: BoolMask, mask: BoolMask, down: int, right: int) -> None:
    """Looking at the errors' surroundings only changes nothing, wherever in an image they lie, also among equals."""
    around = ((down, 3), (right, 5))
    whole_truth, whole_mask = np.pad(truth, around), np.pad(mask, around)
    sizes, clicks = [], []
    for error in (whole_truth & ~whole_mask, whole_mask & ~whole_truth):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(error.astype(np.uint8), connectivity=8)
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else 1
        sizes.append(int(np.count_nonzero(labels == largest)))
        clicks.append(_deepest(labels == largest))
    missing = sizes[0] >= sizes[1]
    point = clicks[0 if missing else 1]
    expected = Point(point.x, point.y, missing) if any(sizes) else None
    assert geometry.next_click(whole_truth, whole_mask) == expected


@settings(deadline=None)
@given(SEEDS, st.integers(60, 200), st.integers(60, 200))
def test_the_deepest_point_is_the_first_of_equals(seed: int, height: int, width: int) -> None:
    """Of pixels exactly equally far from the background the first is taken, row by row, in images small and large."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    blobs = cv2.GaussianBlur(noise, (0, 0), 9) > 0
    if blobs.any():
        assert geometry.deepest(blobs) == _deepest(blobs)


@settings(deadline=None)
@given(SEEDS, st.floats(0, 59), st.floats(0, 39), st.floats(0.1, 30), st.floats(0.1, 30))
def test_jittered_and_loosened_boxes_stay_boxes_in_the_image(
    seed: int, x: float, y: float, width: float, height: float
) -> None:
    """Whatever is drawn, a box keeps its edges in order, a pixel apart, and inside the image."""
    random = np.random.default_rng(seed)
    box = Box(x - 0.5, y - 0.5, x + width, y + height)
    loose = geometry.loosened(box, margin=20, shift=30, scale=0.1, size=SIZE, random=random)
    for found in (geometry.jittered(box, 5, SIZE, random), loose, geometry.grown(box, 20, SIZE)):
        assert -0.5 <= found.x_min <= found.x_max - 1 + ROUNDING <= SIZE[1] - 1.5 + ROUNDING
        assert -0.5 <= found.y_min <= found.y_max - 1 + ROUNDING <= SIZE[0] - 1.5 + ROUNDING


def test_jitter_moves_every_edge_by_no_more_than_asked() -> None:
    """Edges of a box away from the border move by up to 5 px, each by its own."""
    box, random = Box(20, 15, 40, 30), np.random.default_rng(3)
    moves = np.array([list(vars(geometry.jittered(box, 5, SIZE, random)).values()) for _ in range(200)])
    moves -= list(vars(box).values())
    assert (np.abs(moves) <= 5).all()
    assert (np.abs(moves).max(axis=0) > 4.5).all()
    assert np.abs(np.corrcoef(moves.T) - np.eye(4)).max() < 0.3


def test_a_filled_box_holds_the_pixels_whose_centres_it_holds() -> None:
    """A tight box fills exactly its mask; a box between pixels fills the nearest one."""
    assert geometry.filled(Box(4.5, 9.5, 24.5, 19.5), SIZE).sum() == 20 * 10
    assert geometry.filled(Box(3.1, 5.1, 3.4, 5.4), SIZE)[5, 3]


def test_box_iou_of_halves() -> None:
    """Half of a box has IoU .5 with it, another box 0, no box 0."""
    whole = Box(0, 0, 10, 10)
    assert geometry.box_iou(Box(0, 0, 5, 10), whole) == pytest.approx(0.5)
    assert geometry.box_iou(Box(20, 20, 30, 30), whole) == 0
    assert geometry.box_iou(None, whole) == 0


def test_a_square_at_a_click_is_cut_off_at_the_border() -> None:
    """A square of side 10 around a corner pixel keeps the part inside the image."""
    box = geometry.square_at(Point(0, 0), 10, SIZE)
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (-0.5, -0.5, 5, 5)
