"""Embeddings, as they travel."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.codec.embeddings import embedding_to_message, embedding_values_from_message
from hilum.codec.tensors import tensor_to_message
from hilum.errors import InvalidField, InvalidTensor
from hilum.v1 import image_pb2


@dataclass(frozen=True)
class Embedding:
    """What a service holds."""

    values: NDArray[np.float16] = field(default_factory=lambda: np.arange(24).reshape(2, 3, 4).astype(np.float16))
    image_size: tuple[int, int] = (300, 400)
    input_size: tuple[int, int] = (192, 256)
    model: str = "m"
    encoder_revision: str = "ab"


def test_round_trip() -> None:
    """Values and sizes arrive as they were sent."""
    message = embedding_to_message(Embedding())
    assert np.array_equal(embedding_values_from_message(message, "embedding"), Embedding().values)
    assert (message.image_size.height_px, message.image_size.width_px) == (300, 400)
    assert (message.input_size.height_px, message.input_size.width_px) == (192, 256)
    assert (message.model, message.encoder_revision) == ("m", "ab")


@pytest.mark.parametrize("size", ["image_size", "input_size"])
def test_sizes_are_required(size: str) -> None:
    """Without its sizes an embedding cannot be decoded, and is refused."""
    message = embedding_to_message(Embedding())
    message.ClearField(size)  # type: ignore[arg-type]  # a name out of two
    with pytest.raises(InvalidField) as caught:
        embedding_values_from_message(message, "embedding")
    assert caught.value.field == "embedding"


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 3, 4), np.float32),
        np.zeros((3, 4), np.float16),
        np.zeros((1, 2, 3, 4), np.float16),
        np.full((2, 3, 4), np.nan, np.float16),
    ],
    ids=["single precision", "two axes", "four axes", "NaN"],
)
def test_values_that_are_none(values: Any) -> None:
    """Values of another type, with other axes, or without numbers in them are refused."""
    message = image_pb2.Embedding()
    message.CopyFrom(embedding_to_message(Embedding()))
    message.values.CopyFrom(tensor_to_message(values))
    with pytest.raises(InvalidTensor) as caught:
        embedding_values_from_message(message, "embedding")
    assert caught.value.field == "embedding.values"
