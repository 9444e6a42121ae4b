"""DecoderService: messages to the decoding core and back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import grpc

from hilum.codec.embeddings import embedding_values_from_message
from hilum.codec.generation import parameters_from_message
from hilum.codec.images import placement_from_message, size_from_message
from hilum.codec.masks import mask_to_message, window_to_message
from hilum.codec.predictions import check_answer_size, modality_from_message
from hilum.codec.prompts import prompt_from_message
from hilum.codec.tensors import check_answer_bytes, check_image_size, image_pixels_from_message, tensor_to_message
from hilum.digest import DIGEST_BYTES
from hilum.errors import InvalidField, LimitExceeded, ModelNotFound
from hilum.serving.audit import audit_record
from hilum.serving.bundle import Manifest
from hilum.serving.calibration import ScoreCalibration
from hilum.serving.overload import ComputePool
from hilum.serving.telemetry import rpc_facts
from hilum.serving.tenant import current_tenant
from hilum.types import Placement
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import decoder_service_pb2_grpc, image_pb2
from services.decoder.automatic import MaskGeneration, SearchedCrop
from services.decoder.calibration import calibration_for, score_worth
from services.decoder.decoding import DecodedMask, DecodeTimings, Decoding
from services.decoder.embeddings import HotImage, HotImages, Origin
from services.decoder.generation import messages, placed, whole
from services.decoder.refinement import Patch

MAX_PROMPTS = 256
_ENCODINGS = (
    image_pb2.MASK_ENCODING_UNSPECIFIED,
    image_pb2.MASK_ENCODING_COCO_RLE,
    image_pb2.MASK_ENCODING_PACKED_BITS,
)


class DecoderServicer(decoder_service_pb2_grpc.DecoderServiceServicer):
    """Serves a Decoding and a MaskGeneration over HotImages.

    Args:
        images: Where embeddings are found.
        decoding: The core for prompts.
        generation: The core that finds everything.
        pool: Threads in which masks are encoded.
        max_image_pixels: Largest full image accepted.
        max_message_bytes: Largest answer.
    """

    def __init__(
        self,
        images: HotImages,
        decoding: Decoding,
        generation: MaskGeneration,
        *,
        pool: ComputePool,
        max_image_pixels: int,
        max_message_bytes: int,
    ) -> None:
        self._images = images
        self._decoding = decoding
        self._generation = generation
        self._pool = pool
        self._max_image_pixels = max_image_pixels
        self._max_message_bytes = max_message_bytes

    async def PredictMasks(  # noqa: N802 - the contract's name
        self, request: pb.PredictMasksRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.PredictMasksResponse:
        """Predicts masks for many prompts of one image."""
        timings = DecodeTimings()
        if not request.prompts:
            raise InvalidField("is empty: give at least one prompt", field="prompts")
        if len(request.prompts) > MAX_PROMPTS:
            raise LimitExceeded(f"{len(request.prompts)} prompts; at most {MAX_PROMPTS}", field="prompts")
        if request.mask_encoding not in _ENCODINGS:
            raise InvalidField(f"{request.mask_encoding} is not known here", field="mask_encoding")
        modality = modality_from_message(request.modality, "modality")
        patch = self._patch(request)
        hot, origin = await self._hot(request)
        timings.embedding_ms = timings.total_ms()
        manifest = hot.model.bundle.manifest
        _check_revision(request.decoder_revision, manifest)
        placement = self._placement(request, hot)
        full_size = placement.full_size if placement else hot.image_size
        check_answer_size(request, full_size, manifest.low_res_mask_size, max_bytes=self._max_message_bytes)
        prompts = [
            prompt_from_message(prompt, f"prompts[{index}]", full_size, manifest.low_res_mask_size)
            for index, prompt in enumerate(request.prompts)
        ]
        decoded = await self._decoding.predict(
            hot,
            prompts,
            placement=placement,
            multimask_output=request.multimask_output,
            patch=patch,
            timings=timings,
        )
        begin = time.perf_counter()
        calibration = calibration_for(manifest, modality, simulated=request.simulated)
        results = await self._pool.run(_results, decoded, request, full_size, calibration)
        timings.postprocess_ms += (time.perf_counter() - begin) * 1000
        rpc_facts().add(prompts=len(prompts), embedding_origin=origin.name.lower(), decode_ms=timings.decode_ms)
        return pb.PredictMasksResponse(
            results=results,
            model=manifest.name,
            encoder_revision=manifest.encoder_revision,
            decoder_revision=manifest.decoder_revision,
            timings=_timings(timings, origin),
        )

    async def GenerateMasks(  # noqa: N802
        self, request: pb.GenerateMasksRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[pb.GenerateMasksResponse]:
        """Finds everything in an image, with progress."""
        timings = DecodeTimings()
        if request.mask_encoding not in _ENCODINGS:
            raise InvalidField(f"{request.mask_encoding} is not known here", field="mask_encoding")
        packed = request.mask_encoding == image_pb2.MASK_ENCODING_PACKED_BITS
        parameters = parameters_from_message(request)
        image, origin = await self._hot(request)
        manifest, size = image.model.bundle.manifest, image.image_size
        _check_revision(request.decoder_revision, manifest)
        if packed:
            check_answer_bytes(size[0] * -(-size[1] // 8), "mask_encoding", max_bytes=self._max_message_bytes)
        crops = [whole(image), *[await self._crop(crop, index, image) for index, crop in enumerate(request.crops)]]
        timings.embedding_ms = timings.total_ms()
        count = 0
        async with (
            aclosing(self._generation.generate(crops, parameters, timings)) as events,
            aclosing(messages(events, size, packed=packed, pool=self._pool)) as answers,
        ):
            async for answer in answers:
                count += len(answer.masks.masks)
                yield answer
        rpc_facts().add(masks=count, embedding_origin=origin.name.lower(), decode_ms=timings.decode_ms)
        yield pb.GenerateMasksResponse(
            summary=pb.GenerationSummary(
                mask_count=count,
                model=manifest.name,
                encoder_revision=manifest.encoder_revision,
                decoder_revision=manifest.decoder_revision,
                timings=_timings(timings, origin),
            )
        )

    async def _crop(self, crop: pb.GenerationCrop, index: int, image: HotImage) -> SearchedCrop:
        field = f"crops[{index}]"
        hot, _ = await self._hot(crop, f"{field}.")
        return placed(crop, field, hot, image, max_image_pixels=self._max_image_pixels)

    async def _hot(
        self, request: pb.PredictMasksRequest | pb.GenerateMasksRequest | pb.GenerationCrop, prefix: str = ""
    ) -> tuple[HotImage, Origin]:
        match request.WhichOneof("embedding_source"):
            case "embedding_id":
                if len(request.embedding_id) != DIGEST_BYTES:
                    raise InvalidField(
                        f"has {len(request.embedding_id)} bytes instead of 32", field=f"{prefix}embedding_id"
                    )
                audit_record().concerns("embedding_id", request.embedding_id)
                return await self._images.get(request.embedding_id, current_tenant())
            case "embedding":
                embedding, field = request.embedding, f"{prefix}embedding"
                image_size = size_from_message(embedding.image_size)
                values = embedding_values_from_message(embedding, field)
                check_image_size(image_size, f"{field}.image_size", max_pixels=self._max_image_pixels)
                hot = await self._images.prepare(
                    values,
                    encoder_revision=embedding.encoder_revision,
                    image_size=image_size,
                    input_size=size_from_message(embedding.input_size),
                )
                return hot, Origin.INLINE
            case _:
                raise InvalidField("embedding_id or embedding is required", field=f"{prefix}embedding_source")

    def _placement(self, request: pb.PredictMasksRequest, hot: HotImage) -> Placement | None:
        if not request.HasField("placement"):
            return None
        return placement_from_message(
            request.placement, "placement", crop_size=hot.image_size, max_pixels=self._max_image_pixels
        )

    def _patch(self, request: pb.PredictMasksRequest) -> Patch | None:
        if not request.HasField("refinement"):
            return None
        refinement = request.refinement
        if refinement.method != pb.REFINEMENT_METHOD_OTSU_BRIGHT:
            raise InvalidField("must be OTSU_BRIGHT", field="refinement.method")
        values = image_pixels_from_message(
            refinement.patch, "refinement.patch", max_pixels=self._max_image_pixels, colour=False
        )
        return Patch(values, refinement.offset_x_px, refinement.offset_y_px)


def _check_revision(wanted: str, manifest: Manifest) -> None:
    if wanted not in ("", manifest.decoder_revision):
        raise ModelNotFound("this decoder revision is not served here", field="decoder_revision")


def _timings(timings: DecodeTimings, origin: Origin) -> pb.PredictTimings:
    return pb.PredictTimings(
        embedding_ms=timings.embedding_ms,
        decode_ms=timings.decode_ms,
        postprocess_ms=timings.postprocess_ms,
        total_ms=timings.total_ms(),
        embedding_origin=pb.EmbeddingOrigin.ValueType(origin.value),
    )


def _results(
    decoded: Sequence[Sequence[DecodedMask]],
    request: pb.PredictMasksRequest,
    full_size: tuple[int, int],
    calibration: ScoreCalibration | None,
) -> list[pb.PromptResult]:
    results = []
    for masks in decoded:
        messages = [_mask(mask, request, full_size) for mask in masks]
        for message in messages:
            _set_worth(message, calibration)
        results.append(pb.PromptResult(masks=messages))
    return results


def _set_worth(message: pb.PredictedMask, calibration: ScoreCalibration | None) -> None:
    if calibration is None:
        message.score_calibration = pb.SCORE_CALIBRATION_NOT_CALIBRATED
        return
    worth = score_worth(calibration, message.iou_prediction, empty=not message.area_px)
    message.score_calibration = pb.SCORE_CALIBRATION_CALIBRATED
    message.expected_iou, message.abstain = worth.expected_iou, worth.abstain


def _mask(decoded: DecodedMask, request: pb.PredictMasksRequest, full_size: tuple[int, int]) -> pb.PredictedMask:
    window = decoded.window
    packed = request.mask_encoding == image_pb2.MASK_ENCODING_PACKED_BITS
    message = pb.PredictedMask(
        mask=window_to_message(window.mask, row=window.row, column=window.column, size=full_size, packed=packed),
        iou_prediction=decoded.iou_prediction,
        stability_score=window.stability_score,
        area_px=window.area,
        empty_reason=pb.EmptyMaskReason.ValueType(decoded.empty_reason.value),
    )
    bounds = window.bounds()
    if bounds is not None:
        top, left, bottom, right = bounds
        message.bounding_box.CopyFrom(
            image_pb2.Box(x_min=left - 0.5, y_min=top - 0.5, x_max=right + 0.5, y_max=bottom + 0.5)
        )
    if request.return_low_res_masks:
        message.low_res_mask.CopyFrom(tensor_to_message(decoded.low_res_mask))
    if decoded.refinement is not None:
        message.refinement_outcome = pb.RefinementOutcome.ValueType(decoded.refinement.value)
    if decoded.refined is not None:
        message.refined_mask.CopyFrom(mask_to_message(decoded.refined, packed=packed))
    return message
