"""A fake EncoderService: real ids and rules, thumbnails for embeddings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codec.images import EncodingOptions, options_from_message, size_to_message
from hilum.codec.purges import checked_purge
from hilum.codec.tensors import image_pixels_from_message, tensor_to_message
from hilum.connection import MAX_MESSAGE_BYTES
from hilum.digest import DIGEST_BYTES, embedding_id, image_digest
from hilum.errors import (
    DigestMismatch,
    EmbeddingNotFound,
    HilumError,
    InvalidField,
    InvalidTensor,
    LimitExceeded,
    ModelNotFound,
    NoContent,
    PixelsRequired,
    to_status,
)
from hilum.testing.fake import Context, Fake, answering, streaming, tenant_of
from hilum.testing.model import EMBEDDING_SHAPE, FakeModel
from hilum.types import Identity
from hilum.v1 import encoder_service_pb2 as pb
from hilum.v1 import encoder_service_pb2_grpc, image_pb2

MAX_DIGESTS = 4096
MAX_ITEM_ID_BYTES = 128
COMPUTE_PRECISION = "float32"


class FakeEncoder(Fake, encoder_service_pb2_grpc.EncoderServiceServicer):
    """Keeps every image's id, and a 16 x 16 thumbnail of its values in the place of an embedding.

    Args:
        models: Models to pretend, the default first.
        max_image_pixels: Largest image accepted.

    Attributes:
        encoder_runs: Images that were "encoded", cached ones not counted.
    """

    def __init__(self, models: Sequence[FakeModel] = (FakeModel(),), *, max_image_pixels: int = 64_000_000) -> None:
        super().__init__()
        self.models = tuple(models)
        self.encoder_runs = 0
        self._max_image_pixels = max_image_pixels
        self._known: dict[tuple[str, bytes], image_pb2.Embedding] = {}
        self._origins: dict[tuple[str, bytes], tuple[bytes, str]] = {}

    def forget(self) -> None:
        """Loses all embeddings, as a service does that is restarted without a shared cache."""
        self._known.clear()

    def embedding(self, identity: bytes, tenant: str) -> image_pb2.Embedding | None:
        """Returns a tenant's embedding, None where it is not known."""
        return self._known.get((tenant, identity))

    @answering
    async def EncodeImage(self, request: pb.EncodeImageRequest, context: Context) -> pb.EncodeImageResponse:  # noqa: N802 - the contract's name
        """Makes an image known."""
        return self._encode(request, tenant_of(context))

    @streaming
    async def EncodeImages(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.EncodeImagesRequest], context: Context
    ) -> AsyncIterator[pb.EncodeImagesResponse]:
        """Answers every item as it comes."""
        async for item in request_iterator:
            response = pb.EncodeImagesResponse(item_id=item.item_id)
            try:
                if len(item.item_id.encode()) > MAX_ITEM_ID_BYTES:
                    raise LimitExceeded(f"more than {MAX_ITEM_ID_BYTES} bytes", field="item_id")
                response.encoded.CopyFrom(self._encode(item.image, tenant_of(context)))
            except HilumError as error:
                response.error.CopyFrom(to_status(error))
            yield response

    @answering
    async def FindMissingEmbeddings(  # noqa: N802
        self, request: pb.FindMissingEmbeddingsRequest, context: Context
    ) -> pb.FindMissingEmbeddingsResponse:
        """Lists the digests that were not encoded yet."""
        if len(request.image_digests) > MAX_DIGESTS:
            raise LimitExceeded(f"{len(request.image_digests)} digests; at most {MAX_DIGESTS}", field="image_digests")
        options = options_from_message(request.options, "options")
        model, tenant = self._model(options.model), tenant_of(context)
        ids = {
            digest: _id_of(digest, options, model, tenant, field=f"image_digests[{index}]")
            for index, digest in enumerate(request.image_digests)
        }
        missing = [digest for digest, identity in ids.items() if self.embedding(identity, tenant) is None]
        return pb.FindMissingEmbeddingsResponse(missing_image_digests=missing)

    @answering
    async def GetEmbedding(self, request: pb.GetEmbeddingRequest, context: Context) -> pb.GetEmbeddingResponse:  # noqa: N802
        """Returns a thumbnail by id."""
        if len(request.embedding_id) != DIGEST_BYTES:
            raise InvalidField(f"has {len(request.embedding_id)} bytes instead of 32", field="embedding_id")
        embedding = self.embedding(request.embedding_id, tenant_of(context))
        if embedding is None:
            raise EmbeddingNotFound("no embedding is known under this id; encode the image again")
        return pb.GetEmbeddingResponse(embedding=embedding)

    @answering
    async def PurgeEmbeddings(self, request: pb.PurgeEmbeddingsRequest, context: Context) -> pb.PurgeEmbeddingsResponse:  # noqa: N802
        """Forgets what derives from images or a group; there is no cache beside its memory, and no other replica."""
        digests, group = checked_purge(request)
        tenant = tenant_of(context)
        doomed = [
            (owner, identity)
            for (owner, identity), origin in self._origins.items()
            if owner == tenant and (origin[0] in digests or (group and origin[1] == group))
        ]
        gone = sum(self._known.pop(key, None) is not None for key in doomed)
        return pb.PurgeEmbeddingsResponse(deleted_memory_copies=gone, replicas_confirmed=1)

    @answering
    async def GetCapabilities(  # noqa: N802
        self, request: pb.GetCapabilitiesRequest, context: Context
    ) -> pb.GetCapabilitiesResponse:
        """Lists the pretended models."""
        del request, context
        limits = pb.EncoderLimits(
            max_message_bytes=MAX_MESSAGE_BYTES, max_image_pixels=self._max_image_pixels, max_concurrent_images=1
        )
        models = [
            pb.ModelInfo(
                name=model.name,
                encoder_revision=model.encoder_revision,
                decoder_revision=model.decoder_revision,
                image_size_px=model.image_size_px,
                supports_points=model.points,
                supports_box=model.box,
                supports_mask_input=model.mask_input,
                licence="Apache-2.0",
                compute_precision=COMPUTE_PRECISION,
                backend="fake",
                single_mask_for_click=model.single_click,
            )
            for model in self.models
        ]
        return pb.GetCapabilitiesResponse(models=models, limits=limits)

    def _encode(self, request: pb.EncodeImageRequest, tenant: str) -> pb.EncodeImageResponse:
        options = options_from_message(request.options, "options")
        pixels = None
        if request.HasField("pixels"):
            pixels = image_pixels_from_message(request.pixels, "pixels", max_pixels=self._max_image_pixels)
        model = self._model(options.model)
        identity = _id_of(request.image_digest, options, model, tenant, field="image_digest")
        embedding = self.embedding(identity, tenant)
        cache_hit = embedding is not None
        if embedding is None:
            if pixels is None:
                raise PixelsRequired("no embedding is known for this digest; send the same request with pixels")
            if image_digest(pixels) != request.image_digest:
                raise DigestMismatch("the pixels have another SHA-256", field="image_digest")
            embedding = _embedding(pixels, options, model)
            self._known[tenant, identity] = embedding
            self._origins[tenant, identity] = request.image_digest, options.group
            self.encoder_runs += 1
        return pb.EncodeImageResponse(
            embedding_id=identity,
            cache_hit=cache_hit,
            model=model.name,
            encoder_revision=model.encoder_revision,
            timings=pb.EncodeTimings(),
            embedding=embedding if request.return_embedding else None,
        )

    def _model(self, name: str) -> FakeModel:
        for model in self.models:
            if name in ("", model.name):
                return model
        raise ModelNotFound("no model of this name is served here", field="options.model")


def _id_of(digest: bytes, options: EncodingOptions, model: FakeModel, tenant: str, *, field: str) -> bytes:
    if len(digest) != DIGEST_BYTES:
        raise InvalidField(f"has {len(digest)} bytes instead of 32: it is a SHA-256", field=field)
    return embedding_id(
        f"fake key of {tenant}".encode(),
        digest,
        options.mapping,
        pixel_aspect=options.pixel_aspect,
        padding_value=options.padding_value,
        encoder_revision=model.encoder_revision,
        compute_precision=COMPUTE_PRECISION,
        group=options.group,
    )


def _embedding(pixels: NDArray[Any], options: EncodingOptions, model: FakeModel) -> image_pb2.Embedding:
    if isinstance(options.mapping, Identity) and pixels.dtype != np.uint8:
        raise InvalidTensor("identity mapping needs UINT8; choose a window or a percentile", field="pixels")
    if options.padding_value is not None and (pixels == options.padding_value).all():
        raise NoContent("every pixel is padding", field="pixels")
    size = (int(pixels.shape[0]), int(pixels.shape[1]))
    return image_pb2.Embedding(
        values=tensor_to_message(_thumbnail(pixels)),
        image_size=size_to_message(size),
        input_size=size_to_message(model.input_size(size, options.pixel_aspect)),
        model=model.name,
        encoder_revision=model.encoder_revision,
    )


def _thumbnail(pixels: NDArray[Any]) -> NDArray[np.float16]:
    """Returns every so many a pixel, scaled to [0, 1]."""
    _, rows, columns = EMBEDDING_SHAPE
    row = np.arange(rows) * pixels.shape[0] // rows
    column = np.arange(columns) * pixels.shape[1] // columns
    values = pixels[np.ix_(row, column)].astype(np.float64)
    if values.ndim == 3:
        values = values.mean(axis=2)
    low, high = values.min(), values.max()
    thumbnail: NDArray[np.float16] = ((values - low) / (high - low or 1.0)).astype(np.float16)
    return thumbnail[None]
