"""Tensors: numpy arrays as raw little-endian bytes."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.digest import DATA_TYPE_CODES, little_endian
from hilum.errors import InvalidTensor, LimitExceeded
from hilum.v1 import image_pb2

IMAGE_TYPES = ("uint8", "uint16", "int16", "float32")
# What is kept per row and per column of an image is bounded with this.
MAX_SIDE_PX = 16384
# For what an answer holds beside its pixels.
_ANSWER_MARGIN_BYTES = 512 * 1024

_NAMES = {code: name for name, code in DATA_TYPE_CODES.items()}


def tensor_to_message(array: NDArray[Any]) -> image_pb2.Tensor:
    """Returns a Tensor that holds the array; ValueError for a data type that hilum.v1 lacks."""
    code = DATA_TYPE_CODES.get(array.dtype.name)
    if code is None:
        raise ValueError(f"the array is {array.dtype}; hilum.v1 carries {', '.join(DATA_TYPE_CODES)}")
    data = little_endian(array).tobytes()
    return image_pb2.Tensor(shape=array.shape, data_type=image_pb2.DataType.ValueType(code), data=data)


def tensor_from_message(
    tensor: image_pb2.Tensor,
    field: str,
    *,
    types: Collection[str] = IMAGE_TYPES,
    axes: Collection[int] = (2,),
    max_elements: int = 2**31,
) -> NDArray[Any]:
    """Returns a read-only view of the tensor's bytes.

    Args:
        tensor: The message.
        field: Its path, for errors.
        types: Data types accepted.
        axes: Numbers of axes accepted.
        max_elements: Largest product of the shape.

    Raises:
        InvalidTensor: Type, shape and length disagree or are not accepted, or floats are not finite.
        LimitExceeded: Too many elements.
    """
    array = raw_tensor(tensor, field, types, axes, max_elements)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidTensor("holds NaN or infinity; replace them before sending", field=field)
    return array


def raw_tensor(
    tensor: image_pb2.Tensor, field: str, types: Collection[str], axes: Collection[int], max_elements: int
) -> NDArray[Any]:
    """Returns the view without looking at its values; errors as `tensor_from_message`."""
    name = _NAMES.get(tensor.data_type, "unspecified")
    if name not in types:
        raise InvalidTensor(f"data_type {name} is not accepted here; send {' or '.join(types)}", field=field)
    shape = tuple(tensor.shape)
    if len(shape) not in axes or 0 in shape:
        expected = " or ".join(str(count) for count in axes)
        raise InvalidTensor(f"shape {list(shape[:8])} is not accepted; {expected} axes above 0 are needed", field=field)
    elements = math.prod(shape)
    if elements > max_elements:
        raise LimitExceeded(f"{elements} elements are more than the {max_elements} accepted", field=field)
    dtype = np.dtype(name).newbyteorder("<")
    if len(tensor.data) != elements * dtype.itemsize:
        raise InvalidTensor(
            f"{len(tensor.data)} bytes do not fit shape {list(shape)} of {name}, "
            f"which takes {elements * dtype.itemsize}",
            field=field,
        )
    return np.frombuffer(tensor.data, dtype).reshape(shape)


def image_pixels_from_message(
    tensor: image_pb2.Tensor, field: str, *, max_pixels: int, colour: bool = True
) -> NDArray[Any]:
    """Returns the pixels of one image, (height, width) or, where colour is accepted, (height, width, 3).

    Raises:
        InvalidTensor: As `tensor_from_message`, or another number of channels.
        LimitExceeded: More than max_pixels, or a side of more than 16384.
    """
    shape = tuple(tensor.shape)
    if len(shape) >= 2:
        check_image_size((shape[0], shape[1]), field, max_pixels=max_pixels)
    pixels = tensor_from_message(tensor, field, axes=(2, 3) if colour else (2,), max_elements=3 * max_pixels)
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise InvalidTensor(f"{pixels.shape[2]} channels; one (height, width) or three are accepted", field=field)
    return pixels


def check_image_size(size: tuple[int, int], field: str, *, max_pixels: int) -> None:
    """Refuses an image of (height, width) that is too large; LimitExceeded."""
    height, width = size
    if height * width > max_pixels:
        raise LimitExceeded(f"{height} x {width} pixels are more than the {max_pixels} accepted", field=field)
    if max(size) > MAX_SIDE_PX:
        raise LimitExceeded(f"{height} x {width}: a side has at most {MAX_SIDE_PX} pixels", field=field)


def check_answer_bytes(count: int, field: str, *, max_bytes: int) -> None:
    """Refuses before the work what gRPC would refuse to send after it; LimitExceeded."""
    if count > max_bytes - _ANSWER_MARGIN_BYTES:
        raise LimitExceeded(f"the answer would take {count} bytes and may take {max_bytes}; ask for less", field=field)
