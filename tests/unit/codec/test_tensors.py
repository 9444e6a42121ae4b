"""Tensors, from numpy to bytes and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from hilum.codec.tensors import (
    MAX_SIDE_PX,
    check_answer_bytes,
    check_image_size,
    image_pixels_from_message,
    tensor_from_message,
    tensor_to_message,
)
from hilum.errors import HilumError, InvalidTensor, LimitExceeded
from hilum.v1 import image_pb2

TYPES = ("uint8", "uint16", "int16", "float16", "float32")
finite = st.sampled_from(TYPES).flatmap(
    lambda name: arrays.arrays(
        name,
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False} if "float" in name else None,
    )
)


@given(finite)
def test_round_trip(array: NDArray[Any]) -> None:
    """An array of any accepted type and shape comes back equal, as a read-only view of the message's bytes."""
    message = tensor_to_message(array)
    back = tensor_from_message(message, "x", types=TYPES, axes=(array.ndim,))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert not back.flags.writeable
    assert not back.flags.owndata


@given(finite)
def test_bytes_are_little_endian_and_row_major(array: NDArray[Any]) -> None:
    """Byte order and memory layout of the array at hand do not reach the wire."""
    expected = tensor_to_message(array).data
    assert tensor_to_message(array.astype(array.dtype.newbyteorder(">"))).data == expected
    assert tensor_to_message(np.asfortranarray(array)).data == expected
    doubled = np.repeat(array, 2, axis=-1)
    assert tensor_to_message(doubled[..., ::2]).data == expected


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint64", "bool", "complex64"])
def test_other_types_are_refused_by_the_sender(dtype: str) -> None:
    """A type that the contract lacks is a ValueError that lists those it has."""
    with pytest.raises(ValueError, match="float32"):
        tensor_to_message(np.zeros((2, 2), dtype))


@given(shape=st.lists(st.integers(0, 2**32 - 1), max_size=5), data_type=st.integers(0, 7), data=st.binary(max_size=64))
def test_any_tensor_is_read_or_refused(shape: list[int], data_type: int, data: bytes) -> None:
    """Whatever the fields say, the answer is an array of that shape, InvalidTensor or LimitExceeded; nothing else."""
    message = image_pb2.Tensor(shape=shape, data_type=image_pb2.DataType.ValueType(data_type), data=data)
    read = _read(message)
    if isinstance(read, HilumError):
        assert read.field == "pixels"
        assert len(read.message) < 300
    else:
        assert list(read.shape) == shape
        assert read.nbytes == len(data)


def _read(message: image_pb2.Tensor) -> NDArray[Any] | HilumError:
    try:
        return tensor_from_message(message, "pixels", axes=(1, 2, 3))
    except (InvalidTensor, LimitExceeded) as error:
        return error


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_must_be_finite(value: float) -> None:
    """One NaN or infinity among finite values is refused."""
    array = np.zeros((3, 4), np.float32)
    array[1, 2] = value
    with pytest.raises(InvalidTensor, match="NaN or infinity"):
        tensor_from_message(tensor_to_message(array), "pixels")


@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 4, 4), (3, 4, 1)])
def test_images_have_one_or_three_channels(shape: tuple[int, ...]) -> None:
    """(height, width) and (height, width, 3) are images; other numbers of channels are not."""
    with pytest.raises(InvalidTensor, match="channels"):
        image_pixels_from_message(tensor_to_message(np.zeros(shape, np.uint8)), "pixels", max_pixels=100)


def test_colour_may_be_refused() -> None:
    """Where colour has no meaning, three channels are refused as a number of axes."""
    message = tensor_to_message(np.zeros((3, 4, 3), np.uint8))
    assert image_pixels_from_message(message, "pixels", max_pixels=12).shape == (3, 4, 3)
    with pytest.raises(InvalidTensor):
        image_pixels_from_message(message, "pixels", max_pixels=12, colour=False)


def test_image_sizes() -> None:
    """Images may have as many pixels as the limit says and sides of 16384, and not one more."""
    check_image_size((10, 10), "x", max_pixels=100)
    check_image_size((MAX_SIDE_PX, 1), "x", max_pixels=MAX_SIDE_PX)
    for size in ((10, 11), (MAX_SIDE_PX + 1, 1), (1, MAX_SIDE_PX + 1)):
        with pytest.raises(LimitExceeded):
            check_image_size(size, "x", max_pixels=100 if size[0] == 10 else 10**9)


def test_answers_leave_room_for_what_is_beside_the_pixels() -> None:
    """Half a mebibyte of a message is kept for what an answer holds beside its pixels."""
    check_answer_bytes(2**20 - 2**19, "x", max_bytes=2**20)
    with pytest.raises(LimitExceeded, match="ask for less"):
        check_answer_bytes(2**20 - 2**19 + 1, "x", max_bytes=2**20)
