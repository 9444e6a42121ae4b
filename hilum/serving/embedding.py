"""Image embeddings as they are kept: the value, its bytes in a shared cache, and the store of both levels.

Payload of the sealed value (see sealed_value.py), little-endian, 160 bytes, then the values row-major::

    offset  size  field
         0     4  data type, "<f2" and a zero: IEEE 754 half precision
         4    12  shape: channels, height, width, unsigned
        16     8  image_size: height, width, unsigned
        24     8  input_size: height, width, unsigned
        32    64  encoder_revision, SHA-256 in hex
        96    64  model, UTF-8, padded with zeros
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hilum.serving.cache import ValueCache
from hilum.serving.purge_tag import PurgeTag
from hilum.serving.purgeable_memory import PurgeableMemory
from hilum.serving.sealed_value import CorruptValue, seal, tags_of, unseal
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantTag

KIND = "embedding"

_FIELDS = struct.Struct("<4s7I64s64s")
_DATA_TYPE = b"<f2\0"
_MODEL_BYTES = 64
_REVISION = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class StoredEmbedding:
    """An image embedding with what is needed to decode masks from it.

    Attributes:
        embedding_id: 32 bytes.
        values: (channels, height, width) float16, not to be written to.
        image_size: (height, width) of the image that was encoded, in pixels.
        input_size: (height, width) of the image on the model's square canvas, in pixels.
        model: Name of the model, 1 to 64 bytes of UTF-8.
        encoder_revision: SHA-256 of the encoder, 64 hex digits.
        purge_tags: What it derives from: the image and its group.
    """

    embedding_id: bytes
    values: NDArray[np.float16] = field(repr=False)
    image_size: tuple[int, int]
    input_size: tuple[int, int]
    model: str
    encoder_revision: str
    purge_tags: tuple[PurgeTag, ...] = ()

    def __post_init__(self) -> None:
        if self.values.dtype != np.dtype("<f2") or self.values.ndim != 3 or self.values.size == 0:
            raise ValueError(f"values must be float16 (C, h, w), got {self.values.dtype} {self.values.shape}.")
        if len(self.embedding_id) != 32 or not _REVISION.fullmatch(self.encoder_revision):
            raise ValueError("embedding_id takes 32 bytes and encoder_revision 64 hex digits.")
        if not 1 <= len(self.model.encode()) <= _MODEL_BYTES or "\0" in self.model:
            raise ValueError(f"model takes 1 to {_MODEL_BYTES} bytes of UTF-8 without NUL.")

    def encode(self, tenant: TenantTag) -> bytes:
        """Returns the bytes to keep under (tenant, embedding_id)."""
        sizes = (*self.values.shape, *self.image_size, *self.input_size)
        fields = _FIELDS.pack(_DATA_TYPE, *sizes, self.encoder_revision.encode(), self.model.encode())
        values = np.ascontiguousarray(self.values).data
        return seal(KIND, tenant, self.embedding_id, fields, values, tags=self.purge_tags)

    @classmethod
    def decode(cls, data: bytes, *, tenant: TenantTag, embedding_id: bytes) -> StoredEmbedding:
        """Returns the embedding in `data`; its values are a read-only view into `data`.

        Raises:
            CorruptValue: Unless everything verifies: checksum, tenant, id, and the agreement of shape and length.
        """
        payload = unseal(data, KIND, tenant, embedding_id)
        if len(payload) < _FIELDS.size:
            raise CorruptValue("The embedding's fields are cut short.")
        data_type, *sizes, revision, model = _FIELDS.unpack_from(payload)
        if data_type != _DATA_TYPE:
            raise CorruptValue("The embedding is not float16.")
        try:
            return cls(
                embedding_id=embedding_id,
                values=np.frombuffer(payload[_FIELDS.size :], "<f2").reshape(sizes[:3]),
                image_size=(sizes[3], sizes[4]),
                input_size=(sizes[5], sizes[6]),
                model=model.rstrip(b"\0").decode(),
                encoder_revision=revision.decode("ascii"),
                purge_tags=tags_of(data),
            )
        except ValueError as error:  # UnicodeDecodeError is one
            raise CorruptValue(f"The embedding's fields disagree: {error}") from error


class EmbeddingStore:
    """Embeddings in this process's memory, and behind it in a cache that replicas share.

    A value from the shared cache that does not verify is counted as "corrupt" and is a miss, never a mask.

    Args:
        local_bytes: Sum of embeddings that stay in memory, verified and ready, in bytes.
        cache: The shared cache.
        telemetry: Where events are counted: label "local" for memory, "embedding" for what does not verify.
        local_ttl_s: How long they stay in memory at most, in seconds.

    Attributes:
        memory: What stays in memory, to be purged.
    """

    def __init__(
        self, local_bytes: int, cache: ValueCache, telemetry: Telemetry, *, local_ttl_s: float = float("inf")
    ) -> None:
        self.memory: PurgeableMemory[StoredEmbedding] = PurgeableMemory(
            local_bytes, lambda embedding: embedding.values.nbytes, ttl_s=local_ttl_s
        )
        self._cache = cache
        self._telemetry = telemetry
        telemetry.watch_memory("local", self.memory.values)

    def recall(self, tenant: TenantTag, embedding_id: bytes) -> StoredEmbedding | None:
        """Returns the embedding if it is in memory."""
        embedding = self.memory.get((tenant, embedding_id))
        self._telemetry.cache_event("local", "miss" if embedding is None else "hit")
        return embedding

    async def get(self, tenant: TenantTag, embedding_id: bytes) -> StoredEmbedding | None:
        """Returns the embedding from memory or from the shared cache, None when neither has it."""
        embedding = self.recall(tenant, embedding_id)
        if embedding is not None:
            return embedding
        since = self.memory.now()
        data = await self._cache.get(tenant, embedding_id)
        if data is None:
            return None
        try:
            # In a thread: the checksum of some MiB would hold up the event loop.
            embedding = await asyncio.to_thread(StoredEmbedding.decode, data, tenant=tenant, embedding_id=embedding_id)
        except CorruptValue as error:
            self._telemetry.cache_event(KIND, "corrupt")
            self._telemetry.log.warning("corrupt_value", kind=KIND, error=str(error))
            return None
        self.memory.put((tenant, embedding_id), embedding, embedding.purge_tags, since=since)
        return embedding

    async def put(self, tenant: TenantTag, embedding: StoredEmbedding, *, since: float | None = None) -> None:
        """Keeps the embedding in both.

        Args:
            tenant: Whose it is.
            embedding: The embedding.
            since: `memory.now()` when the request arrived that it was computed for; now where None. Nothing is kept
                where the image or its group was purged after that.
        """
        since = self.memory.now() if since is None else since
        self.memory.put((tenant, embedding.embedding_id), embedding, embedding.purge_tags, since=since)
        data = await asyncio.to_thread(embedding.encode, tenant)
        await self._cache.put(tenant, embedding.embedding_id, data, age_s=self.memory.now() - since)

    async def missing(self, tenant: TenantTag, embedding_ids: Collection[bytes]) -> set[bytes]:
        """Returns those ids that neither memory nor, as far as is known, the shared cache has."""
        elsewhere = [key for key in embedding_ids if (tenant, key) not in self.memory]
        return await self._cache.missing(tenant, elsewhere) if elsewhere else set()
