"""Masks: run lengths or packed bits."""

from __future__ import annotations

import numpy as np

from hilum.codec.images import size_from_message, size_to_message
from hilum.errors import InvalidField, InvalidTensor, LimitExceeded
from hilum.masks import decode_rle, encode_rle, pack_bits, unpack_bits
from hilum.types import BoolMask
from hilum.v1 import image_pb2


def mask_to_message(mask: BoolMask, *, packed: bool = False) -> image_pb2.Mask:
    """Returns the message for a mask (height, width)."""
    message = image_pb2.Mask(size=size_to_message(mask.shape))
    if packed:
        message.packed_bits.data = pack_bits(mask)
    else:
        message.coco_rle.counts.extend(encode_rle(mask).tolist())
    return message


def window_to_message(
    window: BoolMask, *, row: int, column: int, size: tuple[int, int], packed: bool = False
) -> image_pb2.Mask:
    """Returns the message for a mask that is background outside a window, at the window's cost.

    Args:
        window: (height, width) bool.
        row: The window's first row in the mask.
        column: The window's first column.
        size: (height, width) of the mask.
        packed: Packed bits instead of run lengths.
    """
    height, width = size
    message = image_pb2.Mask(size=size_to_message(size))
    if packed:
        full = np.zeros(size, np.bool_)
        full[row : row + window.shape[0], column : column + window.shape[1]] = window
        message.packed_bits.data = pack_bits(full)
        return message
    if not window.any():
        message.coco_rle.counts.append(height * width)
        return message
    columns = np.zeros((height, window.shape[1]), np.bool_)
    columns[row : row + window.shape[0]] = window
    counts = encode_rle(columns)
    before, after = column * height, (width - column - window.shape[1]) * height
    counts[0] += before
    runs = counts.tolist()
    if len(runs) % 2:
        runs[-1] += after
    elif after:
        runs.append(after)
    message.coco_rle.counts.extend(runs)
    return message


def mask_from_message(
    message: image_pb2.Mask, field: str, *, size: tuple[int, int] | None, max_pixels: int
) -> BoolMask:
    """Returns the mask.

    Args:
        message: The message.
        field: Its path, for errors.
        size: The (height, width) that it must have; None for any.
        max_pixels: Largest mask accepted.

    Raises:
        InvalidField: No encoding is set, or the size is another.
        InvalidTensor: Runs or bytes do not fit the size.
        LimitExceeded: More than max_pixels.
    """
    actual = size_from_message(message.size)
    if size is not None and actual != size:
        raise InvalidField(f"is {actual[0]} x {actual[1]}, the image {size[0]} x {size[1]}", field=f"{field}.size")
    if actual[0] * actual[1] > max_pixels:
        raise LimitExceeded(f"more than {max_pixels} pixels", field=f"{field}.size")
    try:
        match message.WhichOneof("encoding"):
            case "coco_rle":
                return decode_rle(message.coco_rle.counts, actual)
            case "packed_bits":
                return unpack_bits(message.packed_bits.data, actual)
    except InvalidTensor as error:
        raise InvalidTensor(error.message, field=f"{field}.{message.WhichOneof('encoding')}") from error
    raise InvalidField("needs coco_rle or packed_bits", field=field)
