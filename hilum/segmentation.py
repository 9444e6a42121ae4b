"""Segmenting through encoder and decoder: digest first, pixels only when asked for, encoded again on a miss."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import grpc.aio

from hilum.codec.images import EncodingOptions, options_to_message, placement_to_message
from hilum.codec.modality import modality_to_message
from hilum.codec.predictions import encoded_from_message
from hilum.connection import EMBEDDING_ID_KEY, IMAGE_DIGEST_KEY, CutOff, Metadata, streamed
from hilum.digest import image_digest
from hilum.dragging import Dragging
from hilum.errors import (
    EmbeddingNotFound,
    HilumError,
    InternalError,
    InvalidArgument,
    InvalidField,
    ModelMismatch,
    ModelNotFound,
    PixelsRequired,
    from_status,
)
from hilum.looks import Looks, Question
from hilum.patience import Patience
from hilum.region import Region
from hilum.served_model import Model, model_from_message
from hilum.types import (
    EncodedImage,
    Image,
    IntensityMapping,
    Prediction,
    Prompt,
)
from hilum.v1 import decoder_service_pb2 as decoder_pb
from hilum.v1 import decoder_service_pb2_grpc, encoder_service_pb2_grpc
from hilum.v1 import encoder_service_pb2 as encoder_pb
from hilum.view import View

_KNOWN_IDS_KEPT = 4096
_DIGESTS_PER_CALL = 4096

RegionChoice: TypeAlias = Region | Literal["auto"] | None


@dataclass(frozen=True)
class EncodeFailure:
    """An image of a series that could not be encoded, and why."""

    index: int
    error: HilumError


@dataclass(frozen=True)
class EncodeSuccess:
    """An image of a series that the encoder knows now."""

    index: int
    encoded: EncodedImage


@dataclass(frozen=True)
class Purge:
    """What was deleted.

    Attributes:
        embeddings: Deleted from the shared cache.
        transforms: Deleted from the shared cache.
        memory_copies: Deleted from the memory of services.
        replicas_confirmed: Processes that have nothing of it any more.
        replicas_pending: Processes that have not said so; they follow when the shared cache answers them.
    """

    embeddings: int
    transforms: int
    memory_copies: int
    replicas_confirmed: int
    replicas_pending: int


class SegmentationCalls:
    """Calls to the encoder and the decoder; the half of AsyncClient that segments.

    Args:
        encoder: Channel to the encoder.
        decoder: Channel to the decoder.
        patience: For every call.
        metadata: Sent with every call.
    """

    def __init__(
        self, encoder: grpc.aio.Channel, decoder: grpc.aio.Channel, *, patience: Patience, metadata: Metadata
    ) -> None:
        self._encoder = encoder_service_pb2_grpc.EncoderServiceStub(encoder)
        self._decoder = decoder_service_pb2_grpc.DecoderServiceStub(decoder)
        self._segmentation_patience = patience
        self._segmentation_metadata = metadata
        self._models: list[Model] = []
        self._known_ids: dict[tuple[bytes, EncodingOptions], bytes] = {}

    async def models(self) -> list[Model]:
        """Returns the models that are served, the default first; asked once and kept."""
        if not self._models:
            response = await self._segmentation_patience.answered(
                lambda timeout_s: self._encoder.GetCapabilities(
                    encoder_pb.GetCapabilitiesRequest(), timeout=timeout_s, metadata=self._segmentation_metadata
                )
            )
            self._models = [model_from_message(info) for info in response.models]
        return self._models

    async def encode(
        self,
        image: Image,
        *,
        mapping: IntensityMapping | None = None,
        model: str = "",
        region: Region | None = None,
    ) -> EncodedImage:
        """Makes sure that the encoder knows an image, or a region of it, and returns its id.

        Args:
            image: The image.
            mapping: How values become grey levels; the image's own default where None.
            model: Name of the model; "" for the server's default.
            region: What to encode; the whole image where None.

        Raises:
            HilumError: What the service answered; see hilum.errors.
        """
        return encoded_from_message(await self._encode(View.of(image, mapping, model, region)))

    async def find_missing(
        self, images: Sequence[Image], *, mapping: IntensityMapping | None = None, model: str = ""
    ) -> list[int]:
        """Returns the indices of the images that the encoder does not know yet, without sending pixels.

        Args:
            images: The images.
            mapping: As `encode`.
            model: As `encode`.

        Raises:
            HilumError: What the service answered; see hilum.errors.
        """
        digests: dict[EncodingOptions, dict[bytes, list[int]]] = {}
        for index, image in enumerate(images):
            view = View.of(image, mapping, model, None)
            digests.setdefault(view.options, {}).setdefault(view.digest, []).append(index)
        missing: list[int] = []
        for options, indices in digests.items():
            asked = list(indices)
            for start in range(0, len(asked), _DIGESTS_PER_CALL):
                request = encoder_pb.FindMissingEmbeddingsRequest(
                    image_digests=asked[start : start + _DIGESTS_PER_CALL], options=options_to_message(options)
                )
                for digest in (await self._find_missing(request)).missing_image_digests:
                    missing += indices[digest]
        return sorted(missing)

    async def encode_many(
        self, images: Sequence[Image], *, mapping: IntensityMapping | None = None, model: str = ""
    ) -> AsyncIterator[EncodeSuccess | EncodeFailure]:
        """Yields one outcome per image, in the order in which they end. Known images are not sent.

        Raises:
            HilumError: When the whole call failed.
        """
        pending: dict[int, View] = {}
        for index, image in enumerate(images):
            view = View.of(image, mapping, model, None)
            try:
                known = await self._ask_encoder(view.request(with_pixels=False))
                yield EncodeSuccess(index, encoded_from_message(known))
            except PixelsRequired:
                pending[index] = view
            except InvalidArgument as error:
                yield EncodeFailure(index, error)

        while pending:
            try:
                async for outcome in self._encode_series(dict(pending)):
                    del pending[outcome.index]
                    yield outcome
            except CutOff:
                # At least one was answered: the rest is asked for again.
                if self._segmentation_patience.attempts == 1:
                    raise

    async def purge(self, *, images: Sequence[Image] = (), digests: Sequence[bytes] = (), group: str = "") -> Purge:
        """Deletes what the services keep of images or of a group: embeddings and transforms, on all replicas.

        What was encoded of an image in regions has digests of its own and is found by the image's group.

        Args:
            images: Images, of which only the digests are sent.
            digests: Image digests, 32 bytes each; see `hilum.digest.image_digest`.
            group: As `Image.group`.

        Raises:
            BackendUnavailable: The shared cache does not answer, so that not everything is deleted.
            HilumError: What the service answered; see hilum.errors.
        """
        request = encoder_pb.PurgeEmbeddingsRequest(
            image_digests=[*digests, *(image_digest(image.pixels) for image in images)], group=group
        )
        answer = await self._segmentation_patience.answered(
            lambda timeout_s: self._encoder.PurgeEmbeddings(
                request, timeout=timeout_s, metadata=self._segmentation_metadata
            )
        )
        return Purge(
            embeddings=answer.deleted_embeddings,
            transforms=answer.deleted_transforms,
            memory_copies=answer.deleted_memory_copies,
            replicas_confirmed=answer.replicas_confirmed,
            replicas_pending=answer.replicas_pending,
        )

    async def predict(
        self,
        image: Image,
        prompts: Sequence[Prompt],
        *,
        mapping: IntensityMapping | None = None,
        model: str = "",
        region: RegionChoice = "auto",
        multimask_output: bool | None = None,
        bright_target: bool = False,
        refine_bright: bool = False,
        return_low_res_masks: bool = False,
    ) -> Prediction:
        """Returns masks for prompts on an image, in pixels of the image.

        The image is encoded when no service knows it yet. Small targets are encoded as a region around them, at the
        model's full resolution, and clicks are looked at twice (`hilum.region`); prompts that share a region share one
        call.

        Args:
            image: The image.
            prompts: At least one.
            mapping: How values become grey levels; the image's own default where None.
            model: Name of the model; "" for the server's default.
            region: "auto" for the documented rule, None for the whole image, or a region. With mask_input pass the
                one that the mask came from, of the prediction's `regions`.
            multimask_output: True for three masks per prompt, False for the model's single mask. None for one mask:
                for clicks (points without box and mask_input) the model's first choice, which is the best scored of
                three or the single one (`Model.single_click`), else the single one.
            bright_target: The targets of clicks are small and brighter than what they lie in, as stones are in CT: a
                bright one at a click is the answer, whatever else the click may mean (`hilum.region`, rules 9 and 10).
            refine_bright: Adjust masks of bright targets to the intensities around them.
            return_low_res_masks: Return logits, to be sent back as mask_input.

        Raises:
            HilumError: What a service answered; see hilum.errors.
        """
        if not prompts:
            raise InvalidField("is empty: give at least one prompt", field="prompts")
        served = await self._served(model)
        question = Question(
            image=image,
            mapping=mapping,
            model=model,
            multimask_output=multimask_output,
            three_for_clicks=not served.single_click,
            bright_target=bright_target,
            refine_bright=refine_bright,
            return_low_res_masks=return_low_res_masks,
        )
        looks = Looks(question, prompts, self._predict)
        if region == "auto":
            await looks.by_rule(served.image_size_px)
        else:
            await looks.at(region)
        return looks.prediction()

    async def dragging(
        self,
        image: Image,
        *,
        mapping: IntensityMapping | None = None,
        model: str = "",
        region: Region | None = None,
        multimask_output: bool = False,
    ) -> Dragging:
        """Returns a stream for prompts that replace each other, as while a box is dragged; an async context manager.

        The image is encoded before it returns, when no service knows it yet.

        Args:
            image: The image.
            mapping: As `predict`.
            model: As `predict`.
            region: What is looked at for as long as the stream lasts; the whole image where None. `choose_region` names
                one for a small target.
            multimask_output: Three masks per prompt instead of the model's single one.

        Raises:
            HilumError: What the encoder answered; see hilum.errors.
        """
        view = View.of(image, mapping, model, region)
        # The embedding travels once, with the opening: no cache can lose it while the prompt is dragged.
        encoded = await self._encode(view, return_embedding=True)
        opening = decoder_pb.PredictMasksRequest(
            embedding=encoded.embedding,
            placement=None if view.placement is None else placement_to_message(view.placement),
            multimask_output=multimask_output,
            modality=modality_to_message(image.source),
            simulated=image.source.simulated,
        )
        metadata = (*self._segmentation_metadata, (EMBEDDING_ID_KEY, encoded.embedding_id.hex()))
        call = self._decoder.StreamPredictMasks(metadata=metadata)
        return Dragging(call, opening, source=image.source, region=region)

    async def _predict(self, view: View, request: decoder_pb.PredictMasksRequest) -> decoder_pb.PredictMasksResponse:
        if view.placement is not None:
            request.placement.CopyFrom(placement_to_message(view.placement))
        known = self._known_ids.get(view.key)
        if known is None:
            known = (await self._encode(view)).embedding_id
        request.embedding_id = known
        try:
            return await self._ask_decoder(request, known)
        except (EmbeddingNotFound, ModelMismatch):
            # Evicted since, held by an encoder that the decoder cannot reach, or made before the model was replaced:
            # the embedding travels with the prompts, which works whatever the caches do.
            again = await self._encode(view, return_embedding=True)
            request.embedding.CopyFrom(again.embedding)
            return await self._ask_decoder(request, again.embedding_id)

    async def _encode(self, view: View, *, return_embedding: bool = False) -> encoder_pb.EncodeImageResponse:
        try:
            request = view.request(with_pixels=False, return_embedding=return_embedding)
            response = await self._ask_encoder(request)
        except PixelsRequired:
            request = view.request(with_pixels=True, return_embedding=return_embedding)
            response = await self._ask_encoder(request)
        if len(self._known_ids) >= _KNOWN_IDS_KEPT:
            self._known_ids.clear()
        self._known_ids[view.key] = response.embedding_id
        return response

    async def _encode_series(self, views: Mapping[int, View]) -> AsyncIterator[EncodeSuccess | EncodeFailure]:
        """Yields one outcome per view, in one call whose deadline grows with them."""

        async def requests() -> AsyncIterator[encoder_pb.EncodeImagesRequest]:
            for index, view in views.items():
                yield encoder_pb.EncodeImagesRequest(item_id=str(index), image=view.request(with_pixels=True))

        limit_s = self._segmentation_patience.limit_s(len(views))
        answered = 0
        async for answer in streamed(
            self._encoder.EncodeImages(requests(), timeout=limit_s, metadata=self._segmentation_metadata)
        ):
            answered += 1
            if answer.WhichOneof("result") == "error":
                yield EncodeFailure(int(answer.item_id), from_status(answer.error))
            else:
                yield EncodeSuccess(int(answer.item_id), encoded_from_message(answer.encoded))
        if answered < len(views):
            raise InternalError(f"the encoder ended the stream after {answered} of {len(views)} images")

    async def _ask_encoder(self, request: encoder_pb.EncodeImageRequest) -> encoder_pb.EncodeImageResponse:
        metadata = (*self._segmentation_metadata, (IMAGE_DIGEST_KEY, request.image_digest.hex()))
        return await self._segmentation_patience.answered(
            lambda timeout_s: self._encoder.EncodeImage(request, timeout=timeout_s, metadata=metadata)
        )

    async def _find_missing(
        self, request: encoder_pb.FindMissingEmbeddingsRequest
    ) -> encoder_pb.FindMissingEmbeddingsResponse:
        return await self._segmentation_patience.answered(
            lambda timeout_s: self._encoder.FindMissingEmbeddings(
                request, timeout=timeout_s, metadata=self._segmentation_metadata
            )
        )

    async def _ask_decoder(
        self, request: decoder_pb.PredictMasksRequest, embedding_id: bytes
    ) -> decoder_pb.PredictMasksResponse:
        metadata = (*self._segmentation_metadata, (EMBEDDING_ID_KEY, embedding_id.hex()))
        return await self._segmentation_patience.answered(
            lambda timeout_s: self._decoder.PredictMasks(request, timeout=timeout_s, metadata=metadata)
        )

    async def _served(self, model: str) -> Model:
        models = await self.models()
        served = next((entry for entry in models if model in ("", entry.name)), None)
        if served is None:
            raise ModelNotFound(f"{model!r} is not served; served: {', '.join(entry.name for entry in models)}")
        return served
