"""The region rule: published vectors, and what holds for every box."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hilum.masks import bounding_box
from hilum.region import Region, SecondLook, choose_region, is_click, second_counts, second_look
from hilum.types import Box, Point, PredictedMask, Prompt

CLICK = Prompt(points=(Point(100, 200),))
SMALLEST = Region(32, 144, 128, 128)
VECTORS = Path(__file__).resolve().parents[2] / "protos" / "hilum" / "v1" / "region_vectors.json"

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
aspects = st.one_of(st.just(1.0), st.floats(0.2, 5.0))


def vectors() -> list[dict[str, Any]]:
    """The published cases."""
    cases: list[dict[str, Any]] = json.loads(VECTORS.read_text())["vectors"]
    return cases


@st.composite
def boxes_in(draw: st.DrawFn, size: tuple[int, int]) -> Box:
    """A box inside an image."""
    height, width = size
    x = sorted(draw(st.floats(-0.5, width - 0.5)) for _ in range(2))
    y = sorted(draw(st.floats(-0.5, height - 0.5)) for _ in range(2))
    return Box(x[0], y[0], x[1], y[1])


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["name"])
def test_regions_agree_with_the_published_vectors(vector: dict[str, Any]) -> None:
    """Every published prompt gets its published region, or the whole image."""
    prompt = Prompt(
        points=tuple(Point(x, y) for x, y in vector["points"]),
        box=None if vector["box"] is None else Box(*vector["box"]),
    )
    size = (vector["image_height_px"], vector["image_width_px"])
    found = choose_region(prompt, size, vector["model_side_px"], vector["pixel_aspect"])
    expected = vector["region"]
    assert found == (
        None if expected is None else Region(expected["x"], expected["y"], expected["width"], expected["height"])
    )


@given(st.data(), sizes, st.sampled_from([256, 1024]), aspects)
def test_a_region_lies_in_the_image_and_holds_the_box(
    data: st.DataObject, size: tuple[int, int], model_side: int, aspect: float
) -> None:
    """Whatever the box, its region is inside the image and the box inside the region, with room around it."""
    box = data.draw(boxes_in(size))
    region = choose_region(Prompt(box=box), size, model_side, aspect)
    assume(region is not None)
    assert region is not None
    height, width = size
    assert 0 <= region.x <= region.x + region.width <= width
    assert 0 <= region.y <= region.y + region.height <= height
    assert region.x - 0.5 <= box.x_min <= box.x_max <= region.x + region.width - 0.5
    assert region.y - 0.5 <= box.y_min <= box.y_max <= region.y + region.height - 0.5
    assert max(region.width, region.height * aspect) < max(width, height * aspect)


@given(st.data(), sizes, aspects)
def test_a_target_never_gets_smaller_on_the_models_canvas(
    data: st.DataObject, size: tuple[int, int], aspect: float
) -> None:
    """A region is encoded at a higher resolution than the whole image, or none is chosen."""
    box = data.draw(boxes_in(size))
    region = choose_region(Prompt(box=box), size, 256, aspect)
    assume(region is not None)
    assert region is not None
    height, width = size
    # Rounding to whole rows costs up to half a row.
    assert max(region.width, (region.height - 0.5) * aspect) <= 0.75 * max(width, height * aspect)


def test_neighbouring_prompts_share_a_region() -> None:
    """Boxes a few pixels apart fall on one grid position, so that one embedding serves them."""
    regions = {
        choose_region(Prompt(box=Box(200 + dx, 300 + dy, 212 + dx, 311 + dy)), (512, 512), 256)
        for dx in range(4)
        for dy in range(4)
    }
    assert len(regions) == 1


def test_the_grid_is_fixed() -> None:
    """Away from the image's edges, positions are multiples of an eighth of the side, and sides double."""
    seen = set()
    for centre in range(300, 1700, 7):
        for extent in (5, 15, 17, 40, 100):
            box = Box(centre - extent / 2, centre - extent / 2, centre + extent / 2, centre + extent / 2)
            region = choose_region(Prompt(box=box), (2048, 2048), 256)
            assert region is not None
            assert region.width == region.height
            assert region.x % (region.width // 8) == 0
            seen.add(region.width)
    assert seen == {128, 256, 512, 1024}


@pytest.mark.parametrize(
    "box", [Box(float("nan"), 0, 1, 1), Box(0, 0, float("inf"), 1), Box(float("-inf"), 0, float("inf"), 1)]
)
def test_boxes_that_are_none_are_left_to_the_service(box: Box) -> None:
    """A box that the decoder will refuse does not stop the client before."""
    assert choose_region(Prompt(box=box), (512, 512), 256) is None


def found(rows: slice, columns: slice, score: float = 0.5, size: tuple[int, int] = (512, 512)) -> PredictedMask:
    """A mask that is filled in these rows and columns of an image."""
    mask = np.zeros(size, np.bool_)
    mask[rows, columns] = True
    return PredictedMask(mask, mask, score, 1.0, int(mask.sum()), bounding_box(mask))


NOTHING = found(slice(0), slice(0))


def test_a_click_is_points_alone() -> None:
    """A box says how large a target is, and a previous mask belongs to the region that it came from."""
    assert is_click(CLICK)
    assert not is_click(Prompt(box=Box(1, 1, 5, 5)))
    assert not is_click(Prompt(points=CLICK.points, box=Box(1, 1, 5, 5)))
    assert not is_click(Prompt(points=CLICK.points, mask_input=np.zeros((256, 256), np.float32)))


def test_a_small_mask_is_looked_at_as_its_box_would_be() -> None:
    """What the first look found small gets the region of a box around it."""
    small = found(slice(190, 210), slice(90, 120))
    region = choose_region(Prompt(box=Box(89.5, 189.5, 119.5, 209.5)), (512, 512), 256)
    assert region is not None
    assert second_look(CLICK, small, 256) == SecondLook(region, CLICK)


def test_a_click_beside_what_was_found_is_looked_at_itself() -> None:
    """A small mask whose region leaves out a foreground point is no answer to it: the click is looked at closely."""
    far = found(slice(400, 410), slice(400, 410))
    assert second_look(CLICK, far, 256) == SecondLook(SMALLEST, CLICK)


@pytest.mark.parametrize(
    ("first", "share", "looked"),
    [
        (NOTHING, 0.25, True),
        (found(slice(0, 300), slice(0, 300)), 0.25, True),
        (found(slice(150, 250), slice(50, 150)), 0.25, False),
        (found(slice(150, 250), slice(50, 150)), 0.0, True),
    ],
)
def test_when_a_click_is_looked_at_closely(first: PredictedMask, share: float, looked: bool) -> None:
    """Where nothing or too much was found, in the smallest region around the click; with a share of 0 always."""
    look = second_look(CLICK, first, 256, close_above_share=share)
    assert look == (SecondLook(SMALLEST, CLICK) if looked else None)


def test_clicks_far_apart_ask_for_more_than_the_smallest_region() -> None:
    """The close look holds all foreground points as it would hold a box around them, or there is none."""
    near = Prompt(points=(Point(100, 200), Point(125, 200)))
    look = second_look(near, NOTHING, 256)
    assert look is not None
    assert look.region == choose_region(Prompt(box=Box(100, 200, 125, 200)), (512, 512), 256)
    assert look.region.width == 256
    assert second_look(Prompt(points=(Point(100, 200), Point(300, 200))), NOTHING, 256) is None


def test_points_outside_the_region_are_left_out_of_the_second_look() -> None:
    """Background points that the region does not hold say nothing about it; foreground points are always held."""
    inside, outside = Point(120, 210, foreground=False), Point(400, 400, foreground=False)
    look = second_look(Prompt(points=(*CLICK.points, inside, outside)), NOTHING, 256)
    assert look is not None
    assert look.prompt == Prompt(points=(*CLICK.points, inside))
    assert second_look(Prompt(points=(outside,)), NOTHING, 256) is None


def test_images_too_small_for_a_region_are_looked_at_once() -> None:
    """Where the smallest region is most of the image the first look stands."""
    assert second_look(CLICK, found(slice(0), slice(0), size=(150, 160)), 256) is None


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (found(slice(190, 210), slice(90, 110), 0.9), found(slice(195, 205), slice(95, 105), 0.1), False),
        (found(slice(190, 210), slice(90, 110), 0.1), NOTHING, False),
        (found(slice(0, 300), slice(0, 300), 0.5), found(slice(195, 205), slice(95, 105), 0.6), True),
        (found(slice(0, 300), slice(0, 300), 0.6), found(slice(195, 205), slice(95, 105), 0.6), True),
        (found(slice(0), slice(0), 0.9), found(slice(195, 205), slice(95, 105), 0.1), True),
        (NOTHING, found(slice(144, 205), slice(95, 105), 0.9), False),
        (NOTHING, found(slice(195, 205), slice(95, 160), 0.9), False),
        (found(slice(190, 210), slice(90, 110), 0.1), found(slice(195, 272), slice(95, 105), 0.9), False),
    ],
    ids=["worse", "lost", "better", "equal", "first empty", "cut above", "cut right", "cut below"],
)
def test_which_look_counts(first: PredictedMask, second: PredictedMask, counts: bool) -> None:
    """The second look counts if its score is no lower, or the first found nothing; never empty or cut off."""
    assert second_counts(SMALLEST, first, second) == counts


def test_a_mask_at_the_images_own_edge_is_not_cut_off() -> None:
    """A target in the image's corner may reach the region's edges there."""
    corner = SecondLook(Region(0, 0, 128, 128), Prompt(points=(Point(3, 3),)))
    assert second_counts(corner.region, NOTHING, found(slice(0, 10), slice(0, 10)))
    opposite = SecondLook(Region(384, 384, 128, 128), Prompt(points=(Point(510, 510),)))
    assert second_counts(opposite.region, NOTHING, found(slice(500, 512), slice(500, 512)))


@given(st.data(), sizes, aspects, st.integers(1, 4))
def test_a_second_look_holds_the_click(data: st.DataObject, size: tuple[int, int], aspect: float, clicks: int) -> None:
    """Wherever the clicks, whatever was found: the second look is inside the image and sees every foreground point."""
    height, width = size
    xs, ys = st.floats(-0.5, width - 0.5), st.floats(-0.5, height - 0.5)
    prompt = Prompt(points=tuple(Point(data.draw(xs), data.draw(ys)) for _ in range(clicks)))
    box = data.draw(st.none() | boxes_in(size))
    pixels = np.broadcast_to(np.False_, size)  # of which the rule reads the size
    first = PredictedMask(pixels, pixels, 0.5, 1.0, 0 if box is None else 1, box)
    look = second_look(prompt, first, 256, aspect)
    if look is not None:
        assert look.prompt == prompt
        assert all(look.region.holds(point) for point in prompt.points)
        assert 0 <= look.region.x <= look.region.x + look.region.width <= width
        assert 0 <= look.region.y <= look.region.y + look.region.height <= height
