"""EncoderService: messages to the encoding core and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from hilum.codec.embeddings import embedding_to_message
from hilum.codec.images import options_from_message
from hilum.codec.purges import checked_purge
from hilum.codec.tensors import image_pixels_from_message
from hilum.digest import DIGEST_BYTES
from hilum.errors import EmbeddingNotFound, InvalidField, LimitExceeded
from hilum.serving.audit import audit_record
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.cache_keys import EMBEDDING, TRANSFORM
from hilum.serving.purging import Purging
from hilum.serving.telemetry import rpc_facts
from hilum.serving.tenant import current_tenant, tenant_tag
from hilum.v1 import encoder_service_pb2 as pb
from hilum.v1 import encoder_service_pb2_grpc
from services.encoder.encoding import Encoded, Encoding
from services.encoder.series import Series

MAX_DIGESTS = 4096


class EncoderServicer(encoder_service_pb2_grpc.EncoderServiceServicer):
    """Serves an Encoding.

    Args:
        encoding: The core.
        purging: Deletes, over all replicas.
        held: What the items of streams take their bytes from.
        max_image_pixels: Largest image accepted.
        max_message_bytes: Reported in the capabilities.
        max_concurrent_images: Reported in the capabilities.
    """

    def __init__(
        self,
        encoding: Encoding,
        purging: Purging,
        *,
        held: ByteBudget,
        max_image_pixels: int,
        max_message_bytes: int,
        max_concurrent_images: int,
    ) -> None:
        self._encoding = encoding
        self._purging = purging
        self._series = Series(self._encode, held)
        self._limits = pb.EncoderLimits(
            max_message_bytes=max_message_bytes,
            max_image_pixels=max_image_pixels,
            max_concurrent_images=max_concurrent_images,
        )

    async def EncodeImage(  # noqa: N802 - the contract's name
        self, request: pb.EncodeImageRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.EncodeImageResponse:
        """Encodes one image."""
        response = await self._encode(request)
        rpc_facts().add(cache_hit=response.cache_hit, backend_ms=round(response.timings.backend_ms, 2))
        return response

    async def EncodeImages(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.EncodeImagesRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[pb.EncodeImagesResponse]:
        """Encodes the images of a series, a few at a time, each answered as it ends."""
        answered = 0
        async with aclosing(self._series.answers(request_iterator)) as answers:
            async for answer in answers:
                answered += 1
                yield answer
        rpc_facts().add(items=answered)

    async def FindMissingEmbeddings(  # noqa: N802
        self, request: pb.FindMissingEmbeddingsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.FindMissingEmbeddingsResponse:
        """Lists the digests without an embedding."""
        if len(request.image_digests) > MAX_DIGESTS:
            raise LimitExceeded(f"{len(request.image_digests)} digests; at most {MAX_DIGESTS}", field="image_digests")
        options = options_from_message(request.options, "options")
        for index, digest in enumerate(request.image_digests):
            if len(digest) != DIGEST_BYTES:
                raise InvalidField(f"has {len(digest)} bytes instead of 32", field=f"image_digests[{index}]")
        missing = await self._encoding.missing(list(request.image_digests), options, current_tenant())
        rpc_facts().add(asked=len(request.image_digests), missing=len(missing))
        return pb.FindMissingEmbeddingsResponse(missing_image_digests=missing)

    async def GetEmbedding(  # noqa: N802
        self, request: pb.GetEmbeddingRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.GetEmbeddingResponse:
        """Returns an embedding by id."""
        if len(request.embedding_id) != DIGEST_BYTES:
            raise InvalidField(f"has {len(request.embedding_id)} bytes instead of 32", field="embedding_id")
        audit_record().concerns("embedding_id", request.embedding_id)
        stored = await self._encoding.get(request.embedding_id, current_tenant())
        if stored is None:
            raise EmbeddingNotFound("no embedding is known under this id; encode the image again")
        return pb.GetEmbeddingResponse(embedding=embedding_to_message(stored), purge_tags=stored.purge_tags)

    async def PurgeEmbeddings(  # noqa: N802
        self, request: pb.PurgeEmbeddingsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.PurgeEmbeddingsResponse:
        """Deletes what derives from images or a group."""
        digests, group = checked_purge(request)
        tenant = current_tenant()
        tags = self._encoding.tags_of(digests, group, tenant)
        audit_record().concerns("image_digest", *digests)
        audit_record().concerns("purge_tag", *self._encoding.tags_of([], group, tenant))
        outcome = await self._purging.purge(tenant_tag(tenant), tags)
        rpc_facts().add(
            digests=len(digests),
            by_group=bool(group),
            deleted_embeddings=outcome.deleted.get(EMBEDDING, 0),
            replicas_pending=outcome.replicas_pending,
        )
        return pb.PurgeEmbeddingsResponse(
            deleted_embeddings=outcome.deleted.get(EMBEDDING, 0),
            deleted_transforms=outcome.deleted.get(TRANSFORM, 0),
            deleted_memory_copies=outcome.memory_copies,
            replicas_confirmed=outcome.replicas_confirmed,
            replicas_pending=outcome.replicas_pending,
        )

    async def GetCapabilities(  # noqa: N802
        self, request: pb.GetCapabilitiesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.GetCapabilitiesResponse:
        """Lists models and limits."""
        response = pb.GetCapabilitiesResponse(limits=self._limits)
        for model in self._encoding.models.values():
            manifest = model.bundle.manifest
            response.models.add(
                name=manifest.name,
                encoder_revision=manifest.encoder_revision,
                decoder_revision=manifest.decoder_revision,
                image_size_px=manifest.image_size,
                supports_points=manifest.prompts.points,
                supports_box=manifest.prompts.box,
                supports_mask_input=manifest.prompts.mask_input,
                licence=manifest.licence,
                compute_precision=model.encoder.compute_precision,
                backend=model.encoder.name,
                single_mask_for_click=manifest.prompts.single_click,
            )
        return response

    async def _encode(self, request: pb.EncodeImageRequest) -> pb.EncodeImageResponse:
        options = options_from_message(request.options, "options")
        pixels = None
        if request.HasField("pixels"):
            pixels = image_pixels_from_message(request.pixels, "pixels", max_pixels=self._limits.max_image_pixels)
        if len(request.image_digest) == DIGEST_BYTES:
            audit_record().concerns("image_digest", request.image_digest)
        encoded = await self._encoding.encode(request.image_digest, pixels, options, current_tenant())
        audit_record().concerns("embedding_id", encoded.embedding.embedding_id)
        return _response(encoded, with_embedding=request.return_embedding)


def _response(encoded: Encoded, *, with_embedding: bool) -> pb.EncodeImageResponse:
    timings = encoded.timings
    response = pb.EncodeImageResponse(
        embedding_id=encoded.embedding.embedding_id,
        cache_hit=encoded.cache_hit,
        model=encoded.embedding.model,
        encoder_revision=encoded.embedding.encoder_revision,
        timings=pb.EncodeTimings(
            cache_ms=timings.cache_ms,
            preprocess_ms=timings.preprocess_ms,
            backend_ms=timings.backend_ms,
            total_ms=timings.total_ms(),
        ),
    )
    if with_embedding:
        response.embedding.CopyFrom(embedding_to_message(encoded.embedding))
    return response
