"""The two encodings of a mask and what is measured on it."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hilum.errors import InvalidTensor
from hilum.geometry import DetectorFrame, ImageGeometry, PlaneFrame
from hilum.masks import (
    MAX_PIXELS,
    area_mm2,
    bounding_box,
    centroid,
    decode_rle,
    encode_rle,
    longest_diameter,
    outline,
    pack_bits,
    unpack_bits,
)
from hilum.types import BoolMask, Box

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def runs_by_hand(mask: BoolMask) -> list[int]:
    """COCO run lengths, walked pixel by pixel down the columns."""
    height, width = mask.shape
    pixels = [bool(mask[y, x]) for x in range(width) for y in range(height)]
    runs, value = [0], False
    for pixel in pixels:
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@given(masks)
def test_run_lengths_agree_with_a_walk_down_the_columns(mask: BoolMask) -> None:
    """Run lengths are column-major and start with background, as the contract says."""
    assert encode_rle(mask).tolist() == runs_by_hand(mask)


@given(masks)
def test_run_lengths_round_trip(mask: BoolMask) -> None:
    """Decoding what was encoded gives the mask back, in row-major memory."""
    height, width = mask.shape
    decoded = decode_rle(encode_rle(mask), (height, width))
    np.testing.assert_array_equal(decoded, mask)
    assert decoded.dtype == np.bool_
    assert decoded.flags.c_contiguous


@given(masks)
def test_packed_bits_round_trip(mask: BoolMask) -> None:
    """Packed bits are rows of whole bytes, most significant bit first, and give the mask back."""
    height, width = mask.shape
    data = pack_bits(mask)
    assert len(data) == height * math.ceil(width / 8)
    assert (data[0] & 0x80 != 0) == mask[0, 0]
    np.testing.assert_array_equal(unpack_bits(data, (height, width)), mask)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 8), st.integers(1, 8))
def test_any_counts_decode_or_are_refused(counts: list[int], height: int, width: int) -> None:
    """Whatever counts arrive, the answer is a mask with as many foreground pixels or InvalidTensor."""
    if sum(counts) == height * width and len(counts) <= height * width + 1:
        assert np.count_nonzero(decode_rle(counts, (height, width))) == sum(counts[1::2])
    else:
        with pytest.raises(InvalidTensor):
            decode_rle(counts, (height, width))


@pytest.mark.parametrize(
    ("counts", "size"),
    [
        ([4], (2, 3)),
        ([7, -1], (2, 3)),
        ([], (2, 3)),
        ([0], (0, 3)),
        ([6], (-2, -3)),
        ([0] * 20 + [6], (2, 3)),
        ([2**32 - 1, 2**32 - 1], (2**31, 4)),
        ([2 * MAX_PIXELS], (2, MAX_PIXELS)),
    ],
)
def test_bad_run_lengths_are_refused(counts: list[int], size: tuple[int, int]) -> None:
    """Wrong sums, negative counts, absurd sizes and endless empty runs are refused before anything is allocated."""
    with pytest.raises(InvalidTensor):
        decode_rle(counts, size)


@pytest.mark.parametrize(("length", "size"), [(5, (2, 17)), (7, (2, 17)), (0, (0, 8)), (1 << 40, (1 << 20, 1 << 23))])
def test_bad_packed_bits_are_refused(length: int, size: tuple[int, int]) -> None:
    """A length that does not follow from the size, or an absurd size, is refused."""
    with pytest.raises(InvalidTensor):
        unpack_bits(bytes(min(length, 64)), size)


def test_only_two_dimensional_bool_arrays_are_masks() -> None:
    """An array of another type or dimension is refused, never silently cast."""
    wrongs: list[Any] = [np.zeros((3, 3), np.uint8), np.zeros((1, 3, 3), np.bool_), np.zeros((0, 3), np.bool_)]
    for wrong in wrongs:
        with pytest.raises(InvalidTensor):
            encode_rle(wrong)


@given(masks)
def test_box_and_centroid_agree_with_the_pixels(mask: BoolMask) -> None:
    """The box is tight with edges at pixel borders, the centroid the mean of the pixel centres."""
    y, x = np.nonzero(mask)
    if x.size == 0:
        assert bounding_box(mask) is None
        assert centroid(mask) is None
        return
    assert bounding_box(mask) == Box(x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5)
    assert centroid(mask) == pytest.approx((x.mean(), y.mean()))


def longest_by_hand(mask: BoolMask, spacing: tuple[float, float]) -> float:
    """Largest distance between edge midpoints of any two foreground pixels."""
    middles = [
        ((x + dx) * spacing[0], (y + dy) * spacing[1])
        for y, x in np.argwhere(mask).tolist()
        for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))
    ]
    return max(math.dist(a, b) for a, b in itertools.product(middles, repeat=2))


@given(masks, st.sampled_from([(1.0, 1.0), (0.7, 2.5), (3.0, 0.2)]))
def test_longest_diameter_agrees_with_all_pairs(mask: BoolMask, spacing: tuple[float, float]) -> None:
    """The diameter is the exact maximum over all pairs of border points, in the spacing's unit."""
    diameter = longest_diameter(mask, spacing)
    if not mask.any():
        assert diameter is None
        return
    assert diameter is not None
    assert diameter.length == pytest.approx(longest_by_hand(mask, spacing))
    ends = [(diameter.start[i] - diameter.end[i]) * spacing[i] for i in (0, 1)]
    assert math.hypot(*ends) == pytest.approx(diameter.length)


def test_longest_diameter_of_a_disc_is_its_diameter() -> None:
    """A drawn disc of diameter 100 measures 100 within a pixel, and a row of seven pixels measures 7."""
    y, x = np.mgrid[:128, :128]
    disc = longest_diameter(np.hypot(x - 63.5, y - 63.5) < 50)
    row = np.zeros((3, 9), np.bool_)
    row[1, 1:8] = True
    line = longest_diameter(row)
    assert disc is not None
    assert line is not None
    assert disc.length == pytest.approx(100, abs=1)
    assert line.length == 7


def test_areas_are_given_only_where_lengths_in_the_patient_are_known() -> None:
    """A calibrated plane gives mm2, a detector only with its magnification, pixels never."""
    mask = np.ones((2, 5), np.bool_)
    assert area_mm2(mask, ImageGeometry(PlaneFrame((0.5, 2.0)))) == pytest.approx(10)
    assert area_mm2(mask, ImageGeometry(DetectorFrame((0.4, 0.4), 2.0))) == pytest.approx(0.4)
    assert area_mm2(mask, ImageGeometry(DetectorFrame((0.4, 0.4)))) is None
    assert area_mm2(mask, ImageGeometry()) is None


@given(masks)
def test_outline_is_foreground_beside_background(mask: BoolMask) -> None:
    """The outline holds just the foreground pixels with a background pixel, or the image's end, over an edge."""
    border = outline(mask)
    height, width = mask.shape
    for y, x in np.ndindex(height, width):
        beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        open_side = any(not (0 <= v < height and 0 <= u < width) or not mask[v, u] for v, u in beside)
        assert border[y, x] == (mask[y, x] and open_side)
