"""hilum.bright_target: which masks of a close look stand out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.bright_target import CloseUp, may_stand_out
from hilum.masks import bounding_box
from hilum.region import Region, choose_region
from hilum.types import Box, Pixels, Point, PredictedMask, Prompt

SIZE = (512, 512)
REGION = Region(32, 144, 128, 128)
CLICK = Prompt(points=(Point(100, 200),))


def square(x: int, y: int, side: int) -> PredictedMask:
    """An answer: a square whose first column and row these are."""
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + side, x : x + side] = True
    return PredictedMask(mask, mask, 0.3, 1.0, int(mask.sum()), bounding_box(mask))


UNSURE = square(80, 180, 60)


def stone(x: int, y: int, side: int, grey: int = 200) -> Pixels:
    """Tissue of grey 100 with a square of another grey in it."""
    values = np.full(SIZE, 100, np.uint8)
    values[y : y + side, x : x + side] = grey
    return values


def stands_out(found: PredictedMask, values: Pixels, region: Region, prompt: Prompt, pixel_aspect: float = 1.0) -> bool:
    """Asks of a look at the region."""
    return CloseUp(values, region, prompt, pixel_aspect).stands_out(found)


def test_a_stone_beside_the_click_stands_out_from_its_tissue() -> None:
    """A small mask that is brighter than all around it does; the same mask where nothing is bright does not."""
    found = square(103, 198, 6)
    assert stands_out(found, stone(103, 198, 6), REGION, CLICK)
    assert not stands_out(found, stone(103, 198, 6, grey=100), REGION, CLICK)
    assert not stands_out(found, stone(103, 198, 6, grey=40), REGION, CLICK)


def test_a_fragment_of_something_bright_does_not_stand_out() -> None:
    """A mask within a larger bright object has as bright a ring."""
    assert not stands_out(square(100, 198, 6), stone(80, 180, 40), REGION, CLICK)


@pytest.mark.parametrize(("bright_rows", "expected"), [(0, True), (1, True), (3, False)])
def test_a_tenth_of_the_ring_may_be_as_bright(bright_rows: int, expected: bool) -> None:
    """A vessel or a bone that passes on one side of the ring leaves the mask standing out, a wider one does not.

    The ring of a mask of 6 x 6 has 12 x 12 less 8 x 8 pixels, 80; a row of it has at most 12.
    """
    values = stone(100, 198, 6)
    values[195 : 195 + bright_rows, 97:104] = 255
    assert stands_out(square(100, 198, 6), values, REGION, CLICK) is expected


@pytest.mark.parametrize(("side", "expected"), [(16, True), (17, False)])
def test_it_is_as_small_as_the_region_is_for(side: int, expected: bool) -> None:
    """An eighth of the region's side is the most."""
    assert stands_out(square(95, 195, side), stone(95, 195, side), REGION, CLICK) is expected


def test_rows_are_measured_in_widths_of_a_pixel() -> None:
    """On pixels twice as high as wide a square of ten pixels is twenty widths high: too large for the region."""
    flat = Region(32, 168, 128, 64)
    answers = [
        stands_out(square(98, 198, side), stone(98, 198, side), flat, CLICK, pixel_aspect=2.0) for side in (8, 10)
    ]
    assert answers == [True, False]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ((Point(92.5, 200),), True),
        ((Point(91.4, 200),), False),
        ((Point(100, 200), Point(130, 200)), False),
        ((Point(100, 200), Point(102, 200, foreground=False)), False),
        ((Point(100, 200), Point(90, 200, foreground=False)), True),
    ],
    ids=["near", "far", "one far", "refused", "refused beside"],
)
def test_it_is_where_the_points_are(points: tuple[Point, ...], expected: bool) -> None:
    """Foreground points lie within a sixteenth of the region's side of the box, background points not on the mask."""
    found = square(100, 198, 6)
    assert stands_out(found, stone(100, 198, 6), REGION, Prompt(points=points)) is expected


def test_empty_and_cut_off_masks_never_stand_out() -> None:
    """What has no pixels, or reaches an edge of the region inside the image, is no small target."""
    assert not stands_out(square(100, 198, 0), stone(100, 198, 6), REGION, CLICK)
    edge = Prompt(points=(Point(35, 200),))
    assert not stands_out(square(32, 198, 6), stone(32, 198, 6), REGION, edge)
    assert stands_out(square(33, 198, 6), stone(33, 198, 6), REGION, edge)


@given(st.integers(0, 506), st.integers(0, 506), st.floats(0.1, 50), st.integers(-1000, 1000))
def test_any_scale_of_values_tells_the_same(x: int, y: int, slope: float, intercept: int) -> None:
    """Modality values and grey levels agree, anywhere in the image, its corners included."""
    click, whole = Prompt(points=(Point(x + 3, y + 3),)), Region(0, 0, 512, 512)
    for grey, expected in ((200, True), (90, False)):
        values = (stone(x, y, 6, grey) * slope + intercept).astype(np.float32)
        assert stands_out(square(x, y, 6), values, whole, click) is expected


def test_the_whole_box_counts_for_distance_not_the_mask() -> None:
    """A click in the hollow of a bent stone is at it."""
    mask = np.zeros(SIZE, np.bool_)
    mask[195:207, 95] = mask[195, 95:107] = True
    found = PredictedMask(mask, mask, 0.3, 1.0, int(mask.sum()), Box(94.5, 194.5, 106.5, 206.5))
    assert stands_out(found, np.where(mask, 200, 100).astype(np.uint8), REGION, Prompt(points=(Point(106, 206),)))


def close_up(*points: Point, region: Region = REGION, grey: int = 200, pixel_aspect: float = 1.0) -> CloseUp:
    """Of a stone of 6 px whose first row and column are 198 and 100."""
    return CloseUp(stone(100, 198, 6, grey), region, Prompt(points=points), pixel_aspect)


def test_a_click_is_moved_into_the_stone_beside_it() -> None:
    """It lands where all of 3 x 3 pixels are the stone's; background points stay where they are."""
    refused = Point(60, 180, foreground=False)
    moved = close_up(Point(94, 200), refused).moved(UNSURE)
    assert moved is not None
    there, stayed = moved.points
    assert 101 <= there.x <= 104
    assert 199 <= there.y <= 202
    assert stayed == refused


@pytest.mark.parametrize(("x", "found"), [(93, True), (92, False)])
def test_a_click_is_moved_a_sixteenth_of_the_region_at_most(x: int, found: bool) -> None:
    """Eight pixels of a region of 128; the stone's inside begins at 101."""
    moved = close_up(Point(x, 200)).moved(UNSURE)
    assert moved is not None
    assert (moved.points[0].x == 101) is found


def test_several_clicks_are_not_moved() -> None:
    """They say together where the target is."""
    assert close_up(Point(94, 200), Point(98, 200)).moved(UNSURE) is None


@given(st.floats(-0.5, 511.5), st.floats(-0.5, 511.5), st.floats(0.25, 4))
def test_a_moved_click_stays_in_the_region(x: float, y: float, pixel_aspect: float) -> None:
    """Wherever the click is, at the image's corners, too, on pixels of any shape."""
    region = choose_region(Prompt(box=Box(x, y, x, y)), SIZE, 256, pixel_aspect)
    assert region is not None
    moved = close_up(Point(x, y), region=region, pixel_aspect=pixel_aspect).moved(UNSURE)
    assert moved is not None
    (there,) = moved.points
    assert region.holds(there)
    reach = max(region.width, region.height * pixel_aspect) / 16
    assert abs(there.x - x) <= reach + 0.5
    assert abs(there.y - y) * pixel_aspect <= reach + 0.5 * pixel_aspect


def scored(mask: PredictedMask, score: float) -> PredictedMask:
    """The same mask with another score."""
    return replace(mask, model_score=score)


def test_of_several_bright_targets_the_best_scored_is_the_answer() -> None:
    """Fragments of tissue do not take part, however high their score is."""
    stone_of_6, larger, tissue = square(100, 198, 6), square(99, 197, 8), square(80, 198, 6)
    masks = [scored(tissue, 0.9), scored(larger, 0.2), scored(stone_of_6, 0.3)]
    assert close_up(Point(98, 200)).target(masks, UNSURE) == 2
    assert close_up(Point(98, 200)).target(masks[:1], UNSURE) is None


@pytest.mark.parametrize(
    ("x", "score", "expected"), [(98, 0.1, 0), (100, 0.1, None), (100, 0.49, None), (100, 0.51, 0)]
)
def test_what_the_click_lies_on_is_as_good_as_the_first_choice(x: int, score: float, expected: int | None) -> None:
    """Beside a target any score will do, on it one that is at most .2 lower: a vessel is a fragment of its liver."""
    choice = scored(square(80, 180, 60), 0.7)
    assert close_up(Point(x, 200)).target([scored(square(100, 198, 6), score)], choice) == expected


@pytest.mark.parametrize(
    ("score", "side", "expected"), [(0.75, 6, 0), (0.74, 6, None), (0.75, 21, 0), (0.75, 22, None)]
)
def test_of_a_moved_clicks_target_the_model_must_be_sure(score: float, side: int, expected: int | None) -> None:
    """Nobody clicked there: a score of .75 at least, and a sixth of the region's side at most."""
    values = stone(95, 195, side)
    masks = [scored(square(95, 195, side), score)]
    assert CloseUp(values, REGION, Prompt(points=(Point(94, 200),))).moved_target(masks) == expected


def test_a_click_is_not_moved_where_the_model_is_sure() -> None:
    """From a score of .5 on what it found is the answer."""
    assert close_up(Point(94, 200)).moved(scored(square(80, 180, 60), 0.49)) is not None
    assert close_up(Point(94, 200)).moved(scored(square(80, 180, 60), 0.5)) is None


def test_an_announced_target_needs_no_doubt() -> None:
    """Where the caller says that the target is small and bright, what else was found does not matter."""
    sure = scored(square(80, 180, 60), 0.9)
    on_stone, beside = (replace(close_up(point), announced=True) for point in (Point(100, 200), Point(94, 200)))
    assert on_stone.target([scored(square(100, 198, 6), 0.1)], sure) == 0
    assert beside.moved(sure) is not None


@pytest.mark.parametrize(
    ("modality", "colours", "announced", "sought"),
    [("CT", 1, False, True), ("MR", 1, False, False), ("MR", 1, True, True), ("CT", 3, True, False)],
)
def test_where_bright_targets_are_sought(modality: str, colours: int, *, announced: bool, sought: bool) -> None:
    """In images made by X-rays, and where they are announced; never in colours."""
    pixels = np.zeros(SIZE if colours == 1 else (*SIZE, colours), np.uint8)
    assert may_stand_out(modality, pixels, announced=announced) == sought
