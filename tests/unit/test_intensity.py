"""Grey levels under an intensity mapping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import InvalidTensor
from hilum.intensity import grey_levels, valid_pixels
from hilum.types import Identity, Image, PercentileRange, Window


@given(st.floats(-500, 500), st.floats(1, 2000))
def test_a_window_maps_as_linear_exact(center: float, width: float) -> None:
    """DICOM's LINEAR_EXACT function (PS3.3 C.11.2.1.3.2) to the nearest grey level, and nothing wraps around."""
    values = np.arange(-1500, 1500, 7, dtype=np.int16)[None]
    expected = np.clip((values - center) / width + 0.5, 0, 1) * 255
    found = grey_levels(Image(values), Window(center, width))
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + 1e-2


def test_percentiles_leave_padding_out_and_draw_it_black() -> None:
    """Padding takes no part in the statistics, and is black whatever its value."""
    body = np.linspace(100, 200, 101, dtype=np.float32)[None]
    padded = np.concatenate([body, np.full((1, 400), 5000, np.float32)], axis=1)
    plain = grey_levels(Image(body), PercentileRange(0, 100))
    levels = grey_levels(Image(padded, padding_value=5000), PercentileRange(0, 100))
    np.testing.assert_array_equal(levels[:, :101], plain)
    assert (plain[0, 0], plain[0, 100]) == (0, 255)
    assert not levels[:, 101:].any()


def test_the_images_own_mapping_is_the_default() -> None:
    """The file's window, else bytes as they are, else a percentile stretch."""
    bytes_ = np.asarray([[3, 250]], np.uint8)
    np.testing.assert_array_equal(grey_levels(Image(bytes_)), bytes_)
    words = np.asarray([[0, 1000]], np.uint16)
    assert grey_levels(Image(words)).tolist() == [[0, 255]]
    assert grey_levels(Image(words, window=Window(1000, 2000))).tolist() == [[0, 128]]


def test_identity_needs_bytes() -> None:
    """Wider pixels are refused, not cut off."""
    with pytest.raises(InvalidTensor, match="needs uint8"):
        grey_levels(Image(np.zeros((2, 2), np.int16)), Identity())


def test_constant_and_wholly_padded_images_have_grey_levels() -> None:
    """Nothing divides by zero: such images are black."""
    constant = np.full((3, 4), 7, np.int16)
    assert not grey_levels(Image(constant), PercentileRange()).any()
    assert not grey_levels(Image(constant, padding_value=7), PercentileRange()).any()


def test_padding_of_colour_is_where_all_channels_have_it() -> None:
    """A colour pixel is padding only as a whole; without a padding value every pixel is image."""
    colour = np.zeros((1, 2, 3), np.uint8)
    colour[0, 1, 2] = 9
    valid = valid_pixels(Image(colour, padding_value=0))
    assert valid is not None
    assert valid.tolist() == [[False, True]]
    assert valid_pixels(Image(colour)) is None
