"""modeling.datasets.coco_masks: polygons and run lengths as masks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from hilum.masks import encode_rle
from modeling.datasets.coco_masks import polygon_mask, segmentation_mask, text_counts


def text(counts: list[int]) -> str:
    """COCO's text form of run lengths. Source: rleToString of cocoapi's maskApi.c."""
    written = ""
    for place, count in enumerate(counts):
        value, more = count - (counts[place - 2] if place > 2 else 0), True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            written += chr((bits | 32 * more) + 48)
    return written


def test_text_of_pycocotools() -> None:
    """The text that pycocotools 2.0 writes for a mask gives that mask."""
    mask = np.zeros((6, 7), np.bool_)
    mask[1:4, 2:5] = mask[5, 6] = mask[0, 0] = True
    found = segmentation_mask({"size": [6, 7], "counts": "01<2G000:N"}, (6, 7))
    assert np.array_equal(found, mask)


@settings(deadline=None)
@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 60), st.integers(1, 60))))
def test_run_lengths_give_the_mask_back(mask: NDArray[np.bool_]) -> None:
    """Numbers and text both give back the mask they were made from."""
    counts = encode_rle(mask).tolist()
    for written in (counts, text(counts)):
        segmentation = {"size": list(mask.shape), "counts": written}
        assert np.array_equal(segmentation_mask(segmentation, mask.shape), mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1 << 25), max_size=20))
def test_text_holds_large_counts(counts: list[int]) -> None:
    """Counts of many digits, rising and falling, are read as they were written."""
    assert text_counts(text(counts)) == counts


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_a_rectangle_covers_its_pixels(x: int, y: int, width: int, height: int, backwards: bool) -> None:
    """A polygon along pixel borders covers just the pixels within, whichever way round, cut off at the image."""
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    polygon = [number for corner in (corners[::-1] if backwards else corners) for number in corner]
    expected = np.zeros((12, 12), np.bool_)
    expected[y : y + height, x : x + width] = True
    assert np.array_equal(segmentation_mask([polygon], (12, 12)), expected)


@settings(deadline=None)
@given(st.floats(5, 15), st.floats(5, 15), st.floats(2, 12), st.floats(2, 12))
def test_a_diamond_covers_the_centres_inside(x: float, y: float, across: float, down: float) -> None:
    """A pixel belongs to a polygon where its centre lies inside."""
    corners = np.asarray([(x - across, y), (x, y - down), (x + across, y), (x, y + down)])
    rows, columns = np.indices((20, 21))
    distance = np.abs(columns - x) / across + np.abs(rows - y) / down
    found, certain = polygon_mask(corners, (20, 21)), np.abs(distance - 1) > 1e-9
    assert np.array_equal(found[certain], (distance < 1)[certain])


def test_polygons_of_one_target_are_united() -> None:
    """Parts that overlap add up; they do not cancel out."""
    part = [0, 0, 4, 0, 4, 4, 0, 4]
    assert segmentation_mask([part, part, [6, 0, 8, 0, 8, 1, 6, 1]], (8, 8)).sum() == 18


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"size": [4, 5], "counts": [20]}, "image is"),
        ({"size": [5, 4], "counts": [3]}, "damaged"),
        ({"size": [5, 4]}, "damaged"),
        ({"size": [5, 4], "counts": "é"}, "no text"),
        ({"size": [5, 4], "counts": "Q"}, "end within"),
        ([[1, 2, 3, 4]], "three corners"),
        ([[1, 2, 3, 4, 5, float("nan")]], "not finite"),
    ],
)
def test_damaged_segmentations_are_refused(segmentation: Any, reason: str) -> None:
    """What is no mask of the image says why."""
    with pytest.raises(ValueError, match=reason):
        segmentation_mask(segmentation, (5, 4))
