"""Embeddings, as services hold them and as they travel."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hilum.codec.images import size_from_message, size_to_message
from hilum.codec.tensors import tensor_from_message, tensor_to_message
from hilum.errors import InvalidField
from hilum.v1 import image_pb2


class EmbeddingValues(Protocol):
    """What a message needs of an embedding."""

    @property
    def values(self) -> NDArray[np.float16]:
        """(channels, height, width)."""
        ...

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of what was encoded."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of it on the model's canvas."""
        ...

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def encoder_revision(self) -> str:
        """Revision of the encoder, hex."""
        ...


def embedding_to_message(embedding: EmbeddingValues) -> image_pb2.Embedding:
    """Returns the message for an embedding."""
    return image_pb2.Embedding(
        values=tensor_to_message(embedding.values),
        image_size=size_to_message(embedding.image_size),
        input_size=size_to_message(embedding.input_size),
        model=embedding.model,
        encoder_revision=embedding.encoder_revision,
    )


def embedding_values_from_message(message: image_pb2.Embedding, field: str) -> NDArray[np.float16]:
    """Returns (channels, height, width) float16.

    Raises:
        InvalidTensor: Not FLOAT16 with three axes, or not finite.
        InvalidField: A size is missing.
    """
    if 0 in size_from_message(message.image_size) + size_from_message(message.input_size):
        raise InvalidField("image_size and input_size are required, as EncodeImage returned them", field=field)
    return tensor_from_message(message.values, f"{field}.values", types=("float16",), axes=(3,), max_elements=1 << 24)
