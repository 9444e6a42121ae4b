"""Stored values to the image's units: exact, in the smallest type, never wrapped around."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import DTypeLike, NDArray

from hilum.rescale import rescaled

integers = st.sampled_from(["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<u4", "<i4"]).flatmap(
    lambda kind: hnp.arrays(kind, st.integers(1, 20))
)


@given(integers, st.integers(-3000, 3000), st.integers(-100_000, 100_000))
def test_integral_rescale_is_exact_or_the_nearest_float(stored: NDArray[Any], slope: int, intercept: int) -> None:
    """Whole numbers come out as the exact sum in an integer type, or rounded to float32 where none holds them."""
    result = rescaled(stored, slope, intercept)
    exact = [slope * int(value) + intercept for value in stored]
    assert result.dtype in (np.uint8, np.uint16, np.int16, np.float32)
    np.testing.assert_array_equal(result, np.asarray(exact, dtype=np.float64).astype(result.dtype))
    if result.dtype != np.float32:
        assert result.tolist() == exact


@given(integers, st.floats(-10, 10), st.floats(-2000, 2000))
def test_fractional_rescale_is_float(stored: NDArray[Any], slope: float, intercept: float) -> None:
    """A slope or intercept with a fraction gives float32, rounded once from double precision."""
    result = rescaled(stored, slope + 0.0625 + 2**-20, intercept)
    expected = (stored.astype(np.float64) * (slope + 0.0625 + 2**-20) + intercept).astype(np.float32)
    if not float(slope + 0.0625 + 2**-20).is_integer():
        np.testing.assert_array_equal(result, expected)
        assert result.dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "slope", "intercept", "stored_range", "expected"),
    [
        ("u1", 1, 0, None, np.uint8),
        ("u2", 1, 0, None, np.uint16),
        ("i2", 1, 0, None, np.int16),
        (">u2", 1, 0, None, np.uint16),
        ("u2", 1, -1024, (0, 4095), np.int16),
        ("u2", 1, -1024, None, np.int16),
        ("u1", -1, 255, (0, 255), np.uint8),
        ("u2", -1, 1023, (0, 1023), np.uint16),
        ("u4", 1, 0, None, np.int16),
        ("u2", 2.5, 0, None, np.float32),
        ("f8", 1, 0, None, np.float32),
    ],
)
def test_the_type_follows_from_what_can_be_stored(
    kind: str, slope: float, intercept: float, stored_range: tuple[int, int] | None, expected: DTypeLike
) -> None:
    """One series gets one type: the stored one where the stored range fits it, else int16, uint16, float32."""
    assert rescaled(np.asarray([0, 7, 200], kind), slope, intercept, stored_range).dtype == expected


def test_values_beyond_every_integer_type_become_floats() -> None:
    """A 32-bit dose grid keeps its values."""
    result = rescaled(np.asarray([0, 4_000_000_000], np.uint32))
    assert result.dtype == np.float32
    assert result.tolist() == [0.0, 4e9]


def test_result_is_in_native_byte_order() -> None:
    """Big-endian files give ordinary arrays, ready for the wire."""
    result = rescaled(np.asarray([1, 256], ">u2"))
    assert result.dtype.isnative
    assert result.tolist() == [1, 256]
