"""Where the decoder finds embeddings: its own memory, Redis, the encoder.

What is kept in memory is the image side of the mask decoder, prepared once per image, in a byte-bounded LRU under
(tenant tag, embedding id).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import cv2
import grpc
import numpy as np
from numpy.typing import NDArray

from hilum.codec.embeddings import embedding_values_from_message
from hilum.codec.images import size_from_message
from hilum.errors import BackendUnavailable, EmbeddingNotFound, ModelMismatch, from_rpc_error
from hilum.serving.bundle import Bundle
from hilum.serving.embedding import EmbeddingStore, StoredEmbedding
from hilum.serving.overload import ComputePool
from hilum.serving.purge_tag import PurgeTag
from hilum.serving.purgeable_memory import PurgeableMemory
from hilum.serving.single_flight import SingleFlight
from hilum.serving.telemetry import Telemetry, rpc_facts
from hilum.serving.tenant import TENANT_METADATA_KEY, tenant_tag
from hilum.v1 import encoder_service_pb2, encoder_service_pb2_grpc
from services.decoder.mask_decoder import OnnxMaskDecoder, PreparedImage

EMBEDDING_METADATA_KEY = "x-hilum-embedding-id"


class Origin(Enum):
    """Where an embedding was found; numbers as hilum.v1.EmbeddingOrigin."""

    MEMORY = 1
    CACHE = 2
    ENCODER = 3
    INLINE = 4


@dataclass(frozen=True)
class DecoderModel:
    """A bundle and the graphs that decode embeddings of its encoder."""

    bundle: Bundle
    decoder: OnnxMaskDecoder


@dataclass(frozen=True)
class HotImage:
    """An image ready for prompts.

    Attributes:
        model: What decodes it.
        prepared: The image side of the mask decoder.
        image_size: (height, width) of what was encoded.
        input_size: (height, width) of it on the model's canvas.
    """

    model: DecoderModel
    prepared: PreparedImage
    image_size: tuple[int, int]
    input_size: tuple[int, int]


class EmbeddingSource(Protocol):
    """A place that may know an embedding that no cache has."""

    async def get(self, identity: bytes, tenant: str) -> StoredEmbedding | None:
        """Returns the embedding or None; BackendUnavailable when no answer came."""
        ...


class EncoderSource:
    """Asks encoder replicas in turn (GetEmbedding).

    Args:
        channels: One per replica, or one to a proxy that hashes on `x-hilum-embedding-id`.
        timeout_s: For each question.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel], *, timeout_s: float) -> None:
        self._stubs = [encoder_service_pb2_grpc.EncoderServiceStub(channel) for channel in channels]
        self._timeout_s = timeout_s

    async def get(self, identity: bytes, tenant: str) -> StoredEmbedding | None:
        """Returns the first replica's embedding, or None when all that answer do not know it.

        Raises:
            BackendUnavailable: No replica answered.
        """
        request = encoder_service_pb2.GetEmbeddingRequest(embedding_id=identity)
        metadata = ((EMBEDDING_METADATA_KEY, identity.hex()), (TENANT_METADATA_KEY, tenant))
        answers = 0
        for stub in self._stubs:
            try:
                response = await stub.GetEmbedding(request, timeout=self._timeout_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                answers += isinstance(from_rpc_error(error), EmbeddingNotFound)
                rpc_facts().add(encoder_code=error.code().name)
                continue
            message = response.embedding
            return StoredEmbedding(
                embedding_id=identity,
                values=embedding_values_from_message(message, "embedding"),
                image_size=size_from_message(message.image_size),
                input_size=size_from_message(message.input_size),
                model=message.model,
                encoder_revision=message.encoder_revision,
                purge_tags=tuple(map(PurgeTag, response.purge_tags)),
            )
        if not answers:
            raise BackendUnavailable(
                "the embedding is in no cache and no encoder answers; try again, or send the embedding inline",
                retry_after_s=1.0,
            )
        return None


class HotImages:
    """Images ready for prompts, the most recently used ones kept.

    Args:
        models: Decoders by the encoder revision that they were trained with.
        store: Redis, behind its verified header.
        source: Asked where the store has nothing.
        pool: Threads that prepare images.
        max_bytes: How much memory prepared images may take.
        ttl_s: How long they stay in memory at most, in seconds.
        telemetry: Where it is shown how full that memory is; None for nowhere.

    Attributes:
        memory: The prepared images, to be purged.
    """

    def __init__(
        self,
        models: Mapping[str, DecoderModel],
        *,
        store: EmbeddingStore,
        source: EmbeddingSource,
        pool: ComputePool,
        max_bytes: int,
        ttl_s: float = float("inf"),
        telemetry: Telemetry | None = None,
    ) -> None:
        self._models = models
        self._store = store
        self._source = source
        self._pool = pool
        self.memory: PurgeableMemory[HotImage] = PurgeableMemory(
            max_bytes, lambda hot: hot.prepared.nbytes, ttl_s=ttl_s
        )
        if telemetry is not None:
            telemetry.watch_memory("hot", self.memory.values)
        self._flight = SingleFlight()

    async def get(self, identity: bytes, tenant: str) -> tuple[HotImage, Origin]:
        """Returns the image of this embedding id.

        Raises:
            EmbeddingNotFound: Nobody knows it.
            BackendUnavailable: No cache has it and no encoder answers.
            ModelMismatch: No decoder here belongs to its encoder.
        """
        key = (tenant_tag(tenant), identity)
        hot = self.memory.get(key)
        if hot is not None:
            return hot, Origin.MEMORY

        async def lookup() -> tuple[HotImage, Origin] | None:
            known = self.memory.get(key)
            return None if known is None else (known, Origin.MEMORY)

        async def load() -> tuple[HotImage, Origin]:
            return await self._load(identity, tenant)

        return await self._flight.once(key, lookup, load)

    async def prepare(
        self,
        values: NDArray[np.float16],
        *,
        encoder_revision: str,
        image_size: tuple[int, int],
        input_size: tuple[int, int],
    ) -> HotImage:
        """Returns an image made ready and not kept, for embeddings that come with the request.

        Raises:
            ModelMismatch: No decoder here belongs to the encoder, or shape and sizes are not those of its model.
        """
        model = self._models.get(encoder_revision)
        if model is None:
            raise ModelMismatch(
                "the embedding comes from an encoder that no decoder here belongs to; encode the image again",
                field="embedding.encoder_revision",
            )
        manifest = model.bundle.manifest
        if values.shape != tuple(manifest.embedding_shape) or max(input_size) != manifest.image_size:
            raise ModelMismatch(
                f"{manifest.name} makes embeddings of shape {list(manifest.embedding_shape)} from inputs whose "
                f"longest side is {manifest.image_size}; send what EncodeImage returned",
                field="embedding",
            )
        prepared = await self._pool.run(_prepare, model.decoder, values)
        return HotImage(model, prepared, image_size, input_size)

    async def _load(self, identity: bytes, tenant: str) -> tuple[HotImage, Origin]:
        origin, since = Origin.CACHE, self.memory.now()
        stored = await self._store.get(tenant_tag(tenant), identity)
        if stored is None:
            origin = Origin.ENCODER
            stored = await self._source.get(identity, tenant)
        if stored is None:
            raise EmbeddingNotFound("no embedding is known under this id; encode the image again", field="embedding_id")
        hot = await self.prepare(
            stored.values,
            encoder_revision=stored.encoder_revision,
            image_size=stored.image_size,
            input_size=stored.input_size,
        )
        self.memory.put((tenant_tag(tenant), identity), hot, stored.purge_tags, since=since)
        return hot, origin


def _prepare(decoder: OnnxMaskDecoder, values: NDArray[np.float16]) -> PreparedImage:
    # OpenCV widens half precision several times faster than numpy; the sum with zero is exact.
    wide = cv2.add(values.reshape(len(values), -1), 0.0, dtype=cv2.CV_32F)  # type: ignore[call-overload]  # its stubs lack scalars
    return decoder.prepare(np.asarray(wide, np.float32).reshape(1, *values.shape))
