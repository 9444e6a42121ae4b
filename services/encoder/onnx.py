"""The image encoder in this process, through ONNX Runtime on CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hilum.serving.overload import ComputePool
from services.encoder.preprocess import ModelInput


class OnnxImageEncoder:
    """Runs `image_encoder.onnx` in float32, one image a call; ONNX Runtime releases the GIL.

    Args:
        graph: Path of the graph.
        pool: Threads that calls run on.
        threads: Threads inside one call. More than idle cores hurt.
    """

    name = "onnx"
    compute_precision = "float32"

    def __init__(self, graph: Path, pool: ComputePool, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores from whoever else computes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._pool = pool

    async def encode(self, image: ModelInput) -> NDArray[np.float16]:
        """Returns the image embedding (channels, height, width)."""
        return await self._pool.run(self._run, image)

    async def ready(self) -> bool:
        """Says True: the graph is loaded."""
        return True

    async def close(self) -> None:
        """Does nothing: the pool belongs to the service."""

    def _run(self, image: ModelInput) -> NDArray[np.float16]:
        (embedding,) = self._session.run(["image_embedding"], {"image": image.normalised()})
        values: NDArray[np.float16] = np.asarray(embedding)[0].astype(np.float16)
        return values
