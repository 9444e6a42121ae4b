"""An encoding core around a backend that tests control."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.serving.bundle import Bundle, Manifest, Normalisation, PromptKinds
from hilum.serving.embedding import EmbeddingStore
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.single_flight import SingleFlight
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantKeys
from services.encoder.encoding import Encoding, ServedModel
from services.encoder.preprocess import ModelInput

SHAPE = (2, 4, 4)


def bundle(name: str = "m") -> Bundle:
    """Returns a bundle without files."""
    manifest = Manifest(
        format_version=1,
        name=name,
        architecture="none",
        encoder_revision=name.encode().hex().ljust(64, "0"),
        decoder_revision="d" * 64,
        image_size=64,
        normalisation=Normalisation("min_max"),
        resize="longest_side_pad_right_bottom",
        embedding_shape=SHAPE,
        low_res_mask_size=16,
        mask_threshold=0.0,
        prompts=PromptKinds(points=True, box=True, mask_input=True),
        licence="Apache-2.0",
        source="none",
        created_with={},
        files={},
        graphs={},
        weights="",
    )
    return Bundle(Path("nowhere"), manifest)


class Backend:
    """An ImageEncoder whose embeddings tell the mean grey level; it can be held, and can fail.

    Attributes:
        runs: Images that it has begun to encode.
        ended: Images that it has encoded.
        asked: Set whenever an image arrives.
        go: Cleared by a test to hold it.
        fault: Raised instead of an answer, once.
    """

    name = "test"
    compute_precision = "float32"

    def __init__(self) -> None:
        self.runs = 0
        self.ended = 0
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.fault: Exception | None = None

    async def encode(self, image: ModelInput) -> NDArray[np.float16]:
        """Returns the mean grey level everywhere."""
        self.runs += 1
        self.asked.set()
        await self.go.wait()
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.ended += 1
        return np.full(SHAPE, image.canvas.mean(), np.float16)

    async def ready(self) -> bool:
        """Says True."""
        return True

    async def close(self) -> None:
        """Does nothing."""


@asynccontextmanager
async def encoding(
    backend: Backend, *, running: int = 4, waiting: int = 32, local_bytes: int = 1 << 20
) -> AsyncIterator[Encoding]:
    """Runs an encoding core with two models on this backend, without Redis."""
    telemetry = Telemetry("encoder")
    pool = ComputePool(2, 64)
    yield Encoding(
        {name: ServedModel(bundle(name), backend) for name in ("m", "other")},
        store=EmbeddingStore(local_bytes, InMemoryCache(0), telemetry),
        flight=SingleFlight(),
        permits=Permits(running, waiting),
        pool=pool,
        keys=TenantKeys(bytes(16)),
        telemetry=telemetry,
    )
    await pool.close()
