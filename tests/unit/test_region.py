"""The region rule: published vectors, and what holds for every box."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hilum.region import Region, choose_region
from hilum.types import Box, Point, Prompt

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
