"""Masks, from arrays to messages and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from hilum.codec.masks import mask_from_message, mask_to_message, window_to_message
from hilum.errors import InvalidField, InvalidTensor, LimitExceeded
from hilum.v1 import image_pb2

masks = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20))


@given(masks, st.booleans())
def test_round_trip(mask: NDArray[np.bool_], packed: bool) -> None:
    """A mask of any size comes back as it was, in both encodings."""
    message = mask_to_message(mask, packed=packed)
    assert message.WhichOneof("encoding") == ("packed_bits" if packed else "coco_rle")
    back = mask_from_message(message, "mask", size=mask.shape, max_pixels=400)
    assert back.dtype == np.bool_
    assert np.array_equal(back, mask)


@given(masks, st.booleans(), st.data())
def test_windows(window: NDArray[np.bool_], packed: bool, data: st.DataObject) -> None:
    """A window's message is that of the whole mask with background around it, to the last run."""
    height, width = (data.draw(st.integers(side, side + 15)) for side in window.shape)
    row = data.draw(st.integers(0, height - window.shape[0]))
    column = data.draw(st.integers(0, width - window.shape[1]))
    full = np.zeros((height, width), np.bool_)
    full[row : row + window.shape[0], column : column + window.shape[1]] = window
    message = window_to_message(window, row=row, column=column, size=full.shape, packed=packed)
    assert message == mask_to_message(full, packed=packed)


def test_an_empty_window() -> None:
    """A window without pixels stands for a mask without foreground."""
    message = window_to_message(np.zeros((0, 0), np.bool_), row=0, column=0, size=(3, 5))
    assert message == mask_to_message(np.zeros((3, 5), np.bool_))


def _mask(**fields: Any) -> image_pb2.Mask:
    known: dict[str, Any] = {"size": image_pb2.ImageSize(height_px=3, width_px=5)}
    return image_pb2.Mask(**known | fields)


@pytest.mark.parametrize(
    ("message", "error", "field"),
    [
        (_mask(), InvalidField, "mask"),
        (_mask(coco_rle=image_pb2.CocoRle(counts=[14])), InvalidTensor, "mask.coco_rle"),
        (_mask(coco_rle=image_pb2.CocoRle(counts=[2**32 - 1, 2**32 - 1])), InvalidTensor, "mask.coco_rle"),
        (_mask(coco_rle=image_pb2.CocoRle(counts=[0] * 100)), InvalidTensor, "mask.coco_rle"),
        (_mask(packed_bits=image_pb2.PackedBits(data=b"12")), InvalidTensor, "mask.packed_bits"),
        (_mask(size=None, coco_rle=image_pb2.CocoRle()), InvalidField, "mask.size"),
    ],
    ids=["nothing", "too few", "far too many", "endless empty runs", "bytes", "no size"],
)
def test_what_does_not_fit(message: image_pb2.Mask, error: type[Exception], field: str) -> None:
    """Runs and bytes that do not fit the size are refused under their path."""
    with pytest.raises(error) as caught:
        mask_from_message(message, "mask", size=(3, 5), max_pixels=100)
    assert getattr(caught.value, "field", None) == field


def test_the_size_comes_first() -> None:
    """A mask that is too large, or of another size than its image, is refused before it is decoded."""
    huge = image_pb2.Mask(size=image_pb2.ImageSize(height_px=2**31, width_px=2**31))
    with pytest.raises(LimitExceeded):
        mask_from_message(huge, "mask", size=None, max_pixels=100)
    with pytest.raises(InvalidField, match="the image 3 x 6"):
        mask_from_message(_mask(coco_rle=image_pb2.CocoRle(counts=[15])), "mask", size=(3, 6), max_pixels=100)
