"""Encoding one image: digest, cache, single flight, preprocessing, backend."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from hilum.codec.images import EncodingOptions
from hilum.digest import DIGEST_BYTES, embedding_id, image_digest
from hilum.errors import DigestMismatch, InvalidField, ModelNotFound, PixelsRequired
from hilum.serving.bundle import Bundle
from hilum.serving.embedding import EmbeddingStore, StoredEmbedding
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.purge_tag import PurgeTag, purge_tags
from hilum.serving.single_flight import Flight
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantKeys, tenant_tag
from hilum.types import Image
from services.encoder.backend import ImageEncoder
from services.encoder.preprocess import ModelInput, prepare


@dataclass(frozen=True)
class ServedModel:
    """A bundle and the backend that runs its encoder."""

    bundle: Bundle
    encoder: ImageEncoder


@dataclass
class Timings:
    """Milliseconds spent on one image; filled in while it is encoded."""

    cache_ms: float = 0.0
    preprocess_ms: float = 0.0
    backend_ms: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def total_ms(self) -> float:
        """Returns the time since the request arrived."""
        return (time.perf_counter() - self.started) * 1000


@dataclass(frozen=True)
class Encoded:
    """An embedding and how it came about; `cache_hit` means that no encoder ran for this request."""

    embedding: StoredEmbedding
    cache_hit: bool
    timings: Timings


@dataclass(frozen=True)
class _Asked:
    """An image to encode: its embedding's id, what that derives from, and when the request arrived."""

    identity: bytes
    tags: tuple[PurgeTag, ...]
    pixels: NDArray[Any]
    options: EncodingOptions
    tenant: str
    since: float


class Encoding:
    """Encodes images, each once.

    Args:
        models: Served models by name, the default first.
        store: Where embeddings are kept.
        flight: Lets one caller at a time, over all replicas, work on one embedding.
        permits: How many images may be encoded at once, and how many may wait.
        pool: Threads for digests and preprocessing.
        keys: Tenants' keys for embedding ids.
        telemetry: Counts encoder runs.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        *,
        store: EmbeddingStore,
        flight: Flight,
        permits: Permits,
        pool: ComputePool,
        keys: TenantKeys,
        telemetry: Telemetry,
    ) -> None:
        self.models = models
        self._store = store
        self._flight = flight
        self._permits = permits
        self._pool = pool
        self._keys = keys
        self._telemetry = telemetry

    def model(self, name: str) -> ServedModel:
        """Returns the model of this name, the default for ""; ModelNotFound otherwise."""
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise ModelNotFound(f"no model of this name is served here; served: {', '.join(self.models)}")
        return self.models[name]

    def id_of(self, digest: bytes, options: EncodingOptions, tenant: str) -> bytes:
        """Returns the embedding id; InvalidField for a digest that has not 32 bytes."""
        if len(digest) != DIGEST_BYTES:
            raise InvalidField(f"has {len(digest)} bytes instead of 32: it is a SHA-256", field="image_digest")
        model = self.model(options.model)
        return embedding_id(
            self._keys.key(tenant),
            digest,
            options.mapping,
            pixel_aspect=options.pixel_aspect,
            padding_value=options.padding_value,
            encoder_revision=model.bundle.manifest.encoder_revision,
            compute_precision=model.encoder.compute_precision,
            group=options.group,
        )

    def tags_of(self, digests: Iterable[bytes], group: str, tenant: str) -> tuple[PurgeTag, ...]:
        """Returns what embeddings of these images, encoded in a group, derive from."""
        return purge_tags(self._keys.key(tenant), digests, [group])

    async def missing(self, digests: list[bytes], options: EncodingOptions, tenant: str) -> list[bytes]:
        """Returns those of the digests without an embedding, in order, each once."""
        ids = {digest: self.id_of(digest, options, tenant) for digest in digests}
        missing = await self._store.missing(tenant_tag(tenant), list(ids.values()))
        return [digest for digest, identity in ids.items() if identity in missing]

    async def get(self, identity: bytes, tenant: str) -> StoredEmbedding | None:
        """Returns a known embedding or None."""
        return await self._store.get(tenant_tag(tenant), identity)

    async def encode(
        self, digest: bytes, pixels: NDArray[Any] | None, options: EncodingOptions, tenant: str
    ) -> Encoded:
        """Returns the embedding of one image.

        Raises:
            InvalidField: The digest has not 32 bytes.
            ModelNotFound: The model is not served.
            PixelsRequired: Nothing is known under the digest and no pixels were sent.
            DigestMismatch: The pixels have another digest.
            InvalidTensor: Identity mapping of pixels that are not uint8.
            NoContent: Every pixel is padding.
            Overloaded: No permit is free.
            BackendUnavailable: The backend does not answer.
        """
        timings, since = Timings(), self._store.memory.now()
        identity = self.id_of(digest, options, tenant)
        known = await self._lookup(identity, tenant, timings)
        if known is not None:
            return Encoded(known, True, timings)
        if pixels is None:
            raise PixelsRequired("no embedding is known for this digest; send the same request with pixels")
        await self._check_digest(digest, pixels)
        asked = _Asked(identity, self.tags_of([digest], options.group, tenant), pixels, options, tenant, since)
        return await self._encode_once(asked, timings)

    async def _encode_once(self, asked: _Asked, timings: Timings) -> Encoded:
        ran = False

        async def compute() -> StoredEmbedding:
            nonlocal ran
            ran = True
            # Only who encodes takes a permit: callers that wait for the same image cost nothing.
            async with self._permits.acquire():
                return await self._run(asked, timings)

        async def lookup() -> StoredEmbedding | None:
            return await self._lookup(asked.identity, asked.tenant, timings)

        embedding = await self._flight.once((tenant_tag(asked.tenant), asked.identity), lookup, compute)
        return Encoded(embedding, not ran, timings)

    async def _lookup(self, identity: bytes, tenant: str, timings: Timings) -> StoredEmbedding | None:
        begin = time.perf_counter()
        known = await self._store.get(tenant_tag(tenant), identity)
        timings.cache_ms += (time.perf_counter() - begin) * 1000
        return known

    async def _check_digest(self, digest: bytes, pixels: NDArray[Any]) -> None:
        actual = await self._pool.run(image_digest, pixels)
        if actual != digest:
            raise DigestMismatch(
                "the pixels have another SHA-256; hash shape, data type and bytes as image_digest_vectors.json shows",
                field="image_digest",
            )

    async def _run(self, asked: _Asked, timings: Timings) -> StoredEmbedding:
        pixels, options = asked.pixels, asked.options
        model = self.model(options.model)
        manifest = model.bundle.manifest
        begin = time.perf_counter()

        def preprocess() -> ModelInput:
            return prepare(
                Image(pixels, padding_value=options.padding_value),
                options.mapping,
                pixel_aspect=options.pixel_aspect,
                side=manifest.image_size,
                normalisation=manifest.normalisation,
            )

        image = await self._pool.run(preprocess)
        timings.preprocess_ms = (time.perf_counter() - begin) * 1000
        begin = time.perf_counter()
        values = await model.encoder.encode(image)
        timings.backend_ms = (time.perf_counter() - begin) * 1000
        self._telemetry.encoder_ran(model.encoder.name)
        stored = StoredEmbedding(
            embedding_id=asked.identity,
            values=values,
            image_size=(int(pixels.shape[0]), int(pixels.shape[1])),
            input_size=image.input_size,
            model=manifest.name,
            encoder_revision=manifest.encoder_revision,
            purge_tags=asked.tags,
        )
        begin = time.perf_counter()
        await self._store.put(tenant_tag(asked.tenant), stored, since=asked.since)
        timings.cache_ms += (time.perf_counter() - begin) * 1000
        return stored
