"""The role that an image encoder's backend plays."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.encoder.preprocess import ModelInput


class ImageEncoder(Protocol):
    """Runs one model's image encoder.

    Attributes:
        name: "onnx" or "triton", shown in GetCapabilities.
    """

    name: str

    @property
    def compute_precision(self) -> str:
        """Precision class, part of an embedding's identity.

        Embeddings of one class agree within the tolerance that docs/concepts/precision.md states.

        Raises:
            BackendUnavailable: The backend has not said yet.
        """
        ...

    async def encode(self, image: ModelInput) -> NDArray[np.float16]:
        """Returns the image embedding (channels, height, width).

        Raises:
            BackendUnavailable: The backend does not answer.
        """
        ...

    async def ready(self) -> bool:
        """Says whether an image could be encoded now."""
        ...

    async def close(self) -> None:
        """Releases what the backend holds."""
        ...
