"""A fake DecoderService: the contract's rules, drawings for masks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np

from hilum.codec.embeddings import embedding_values_from_message
from hilum.codec.generation import crop_layer_from_message, parameters_from_message
from hilum.codec.images import placement_from_message, size_from_message
from hilum.codec.masks import mask_to_message
from hilum.codec.modality import modality_from_message
from hilum.codec.predictions import check_answer_size, opening_from_message, update_from_message
from hilum.codec.prompts import box_to_message, prompt_from_message
from hilum.codec.tensors import check_image_size, image_pixels_from_message, tensor_to_message
from hilum.connection import MAX_MESSAGE_BYTES
from hilum.digest import DIGEST_BYTES
from hilum.errors import (
    EmbeddingNotFound,
    HilumError,
    InvalidField,
    LimitExceeded,
    ModelMismatch,
    ModelNotFound,
    to_status,
)
from hilum.masks import bounding_box
from hilum.testing.drawing import SCALES, View, logits, mask
from hilum.testing.encoder import FakeEncoder
from hilum.testing.fake import Context, Fake, answering, streaming, tenant_of
from hilum.testing.generation import SCORES, Crop, search
from hilum.testing.model import EMBEDDING_SHAPE, LOW_RES_SIZE, FakeModel, check_kinds
from hilum.types import BoolMask, Pixels, Point, Prompt
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import decoder_service_pb2_grpc, image_pb2

MAX_PROMPTS = 256
RADIUS_PX = 10.0
_MARGIN_PX = 3
_OVERCONFIDENCE = 0.1


class _Prompted(NamedTuple):
    """What holds for all prompts of a call."""

    modality: str
    patch: Pixels | None
    origin: pb.EmbeddingOrigin.ValueType
    model: FakeModel
    view: View
    full_size: tuple[int, int]


class FakeDecoder(Fake, decoder_service_pb2_grpc.DecoderServiceServicer):
    """Draws masks for prompts; see `hilum.testing.drawing` for what it draws.

    Args:
        encoder: The fake that knows the embeddings, and the models.
        radius_px: Radius of the disc that it draws around a point.
        max_image_pixels: Largest full image accepted.
    """

    def __init__(
        self, encoder: FakeEncoder, *, radius_px: float = RADIUS_PX, max_image_pixels: int = 64_000_000
    ) -> None:
        super().__init__()
        self._encoder = encoder
        self._radius_px = radius_px
        self._max_image_pixels = max_image_pixels
        self._hot: dict[tuple[str, bytes], image_pb2.Embedding] = {}

    def forget(self) -> None:
        """Loses all embeddings that it keeps in memory."""
        self._hot.clear()

    @answering
    async def PredictMasks(self, request: pb.PredictMasksRequest, context: Context) -> pb.PredictMasksResponse:  # noqa: N802 - the contract's name
        """Draws masks for many prompts of one image."""
        return self._predict(request, tenant_of(context))

    @streaming
    async def StreamPredictMasks(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.StreamPredictMasksRequest], context: Context
    ) -> AsyncIterator[pb.StreamPredictMasksResponse]:
        """Draws masks for every update, faster than any can be superseded."""
        opening = opening_from_message(await anext(aiter(request_iterator), None))
        probe = pb.PredictMasksRequest()
        probe.CopyFrom(opening)
        self._prompted(probe, tenant_of(context))
        last: int | None = None
        async for message in request_iterator:
            update = update_from_message(message, last)
            last = update.sequence_number
            answer = pb.StreamPredictMasksResponse(sequence_number=last)
            del probe.prompts[:]
            probe.prompts.extend(update.prompts)
            try:
                answer.predicted.CopyFrom(self._predict(probe, tenant_of(context)))
            except HilumError as error:
                answer.error.CopyFrom(to_status(error))
            yield answer

    def _predict(self, request: pb.PredictMasksRequest, tenant: str) -> pb.PredictMasksResponse:
        if not request.prompts:
            raise InvalidField("is empty: give at least one prompt", field="prompts")
        if len(request.prompts) > MAX_PROMPTS:
            raise LimitExceeded(f"{len(request.prompts)} prompts; at most {MAX_PROMPTS}", field="prompts")
        modality, patch, origin, model, view, full_size = self._prompted(request, tenant)
        check_answer_size(request, len(request.prompts), full_size, LOW_RES_SIZE, max_bytes=MAX_MESSAGE_BYTES)
        prompts = [
            prompt_from_message(prompt, f"prompts[{index}]", full_size, LOW_RES_SIZE)
            for index, prompt in enumerate(request.prompts)
        ]
        for index, prompt in enumerate(prompts):
            check_kinds(prompt, model, f"prompts[{index}]")
        results = [pb.PromptResult(masks=self._masks(prompt, view, full_size, patch, request)) for prompt in prompts]
        # Calibrations are measured on whole, acquired images.
        calibrated = modality in model.calibrated and not request.simulated and view.size == full_size
        for answer in (answer for result in results for answer in result.masks):
            _set_worth(answer, model, calibrated=calibrated)
        return pb.PredictMasksResponse(
            results=results,
            model=model.name,
            encoder_revision=model.encoder_revision,
            decoder_revision=model.decoder_revision,
            timings=pb.PredictTimings(embedding_origin=origin),
        )

    def _prompted(self, request: pb.PredictMasksRequest, tenant: str) -> _Prompted:
        """Checks and finds it."""
        if request.mask_encoding not in image_pb2.MaskEncoding.values():
            raise InvalidField(f"{request.mask_encoding} is not known here", field="mask_encoding")
        modality = modality_from_message(request.modality, "modality")
        patch = self._patch(request)
        embedding, origin = self._embedding(request, tenant)
        model = self._model(embedding)
        _check_revision(request.decoder_revision, model)
        view, full_size = self._view(request, embedding, model)
        return _Prompted(modality, patch, origin, model, view, full_size)

    @streaming
    async def GenerateMasks(  # noqa: N802
        self, request: pb.GenerateMasksRequest, context: Context
    ) -> AsyncIterator[pb.GenerateMasksResponse]:
        """Draws discs around the points of a grid, and drops those that overlap too much."""
        if request.mask_encoding not in image_pb2.MaskEncoding.values():
            raise InvalidField(f"{request.mask_encoding} is not known here", field="mask_encoding")
        parameters, tenant = parameters_from_message(request), tenant_of(context)
        embedding, origin = self._embedding(request, tenant)
        model = self._model(embedding)
        _check_revision(request.decoder_revision, model)
        size = size_from_message(embedding.image_size)
        view = View(size, size_from_message(embedding.input_size), model.image_size_px, (0, 0))
        crops = [Crop(view, 0), *self._crops(request, size, model, tenant)]
        check_kinds(Prompt(points=(Point(0, 0),)), model, "embedding_source")
        packed = request.mask_encoding == image_pb2.MASK_ENCODING_PACKED_BITS
        count = 0
        for answer in search(crops, size, parameters, radius_px=self._radius_px, packed=packed):
            count += len(answer.masks.masks)
            yield answer
        summary = pb.GenerationSummary(
            mask_count=count,
            model=model.name,
            encoder_revision=model.encoder_revision,
            decoder_revision=model.decoder_revision,
            timings=pb.PredictTimings(embedding_origin=origin),
        )
        yield pb.GenerateMasksResponse(summary=summary)

    def _crops(
        self, request: pb.GenerateMasksRequest, size: tuple[int, int], model: FakeModel, tenant: str
    ) -> list[Crop]:
        crops = []
        for index, crop in enumerate(request.crops):
            field = f"crops[{index}]"
            embedding, _ = self._embedding(crop, tenant, f"{field}.")
            crop_model = self._model(embedding)
            layer = crop_layer_from_message(crop, field)
            view, full_size = self._view(crop, embedding, crop_model, f"{field}.placement")
            if full_size != size:
                raise InvalidField(
                    "is not the size of the image that was encoded", field=f"{field}.placement.full_size"
                )
            if crop_model is not model:
                raise ModelMismatch("crop and image come from different encoders; encode both with one model")
            crops.append(Crop(view, layer))
        return crops

    def _embedding(
        self,
        request: pb.PredictMasksRequest | pb.GenerateMasksRequest | pb.GenerationCrop,
        tenant: str,
        prefix: str = "",
    ) -> tuple[image_pb2.Embedding, pb.EmbeddingOrigin.ValueType]:
        match request.WhichOneof("embedding_source"):
            case "embedding_id":
                if len(request.embedding_id) != DIGEST_BYTES:
                    raise InvalidField(
                        f"has {len(request.embedding_id)} bytes instead of 32", field=f"{prefix}embedding_id"
                    )
                key = (tenant, request.embedding_id)
                if key in self._hot:
                    return self._hot[key], pb.EMBEDDING_ORIGIN_MEMORY
                known = self._encoder.embedding(request.embedding_id, tenant)
                if known is None:
                    raise EmbeddingNotFound(
                        "no embedding is known under this id; encode the image again", field="embedding_id"
                    )
                self._hot[key] = known
                return known, pb.EMBEDDING_ORIGIN_ENCODER
            case "embedding":
                embedding_values_from_message(request.embedding, f"{prefix}embedding")
                size = size_from_message(request.embedding.image_size)
                check_image_size(size, f"{prefix}embedding.image_size", max_pixels=self._max_image_pixels)
                return request.embedding, pb.EMBEDDING_ORIGIN_INLINE
            case _:
                raise InvalidField("embedding_id or embedding is required", field=f"{prefix}embedding_source")

    def _model(self, embedding: image_pb2.Embedding) -> FakeModel:
        for model in self._encoder.models:
            if model.encoder_revision == embedding.encoder_revision:
                longest = max(size_from_message(embedding.input_size))
                if tuple(embedding.values.shape) != EMBEDDING_SHAPE or longest != model.image_size_px:
                    raise ModelMismatch("the embedding is not as EncodeImage returned it", field="embedding")
                return model
        raise ModelMismatch(
            "the embedding comes from an encoder that no decoder here belongs to; encode the image again",
            field="embedding.encoder_revision",
        )

    def _view(
        self,
        request: pb.PredictMasksRequest | pb.GenerationCrop,
        embedding: image_pb2.Embedding,
        model: FakeModel,
        field: str = "placement",
    ) -> tuple[View, tuple[int, int]]:
        size = size_from_message(embedding.image_size)
        input_size = size_from_message(embedding.input_size)
        if not request.HasField("placement"):
            return View(size, input_size, model.image_size_px, (0, 0)), size
        placement = placement_from_message(request.placement, field, crop_size=size, max_pixels=self._max_image_pixels)
        offset = (placement.offset_x_px, placement.offset_y_px)
        return View(size, input_size, model.image_size_px, offset), placement.full_size

    def _patch(self, request: pb.PredictMasksRequest) -> Pixels | None:
        if not request.HasField("refinement"):
            return None
        if request.refinement.method != pb.REFINEMENT_METHOD_OTSU_BRIGHT:
            raise InvalidField("must be OTSU_BRIGHT", field="refinement.method")
        return image_pixels_from_message(
            request.refinement.patch, "refinement.patch", max_pixels=self._max_image_pixels, colour=False
        )

    def _masks(
        self,
        prompt: Prompt,
        view: View,
        full_size: tuple[int, int],
        patch: Pixels | None,
        request: pb.PredictMasksRequest,
    ) -> Sequence[pb.PredictedMask]:
        answers = []
        packed = request.mask_encoding == image_pb2.MASK_ENCODING_PACKED_BITS
        for scale, score in zip(SCALES[: 3 if request.multimask_output else 1], SCORES, strict=False):
            full = np.zeros(full_size, np.bool_)
            (left, top), (height, width) = view.offset, view.size
            drawn = mask(prompt, view, scale=scale, radius_px=self._radius_px)
            full[top : top + height, left : left + width] = drawn
            answer = pb.PredictedMask(
                mask=mask_to_message(full, packed=packed),
                iou_prediction=score,
                stability_score=1.0,
                area_px=int(full.sum()),
            )
            bounds = bounding_box(full)
            if bounds is None:
                answer.empty_reason = pb.EMPTY_MASK_REASON_NO_LOGIT_ABOVE_THRESHOLD
            else:
                answer.bounding_box.CopyFrom(box_to_message(bounds))
            if request.return_low_res_masks:
                low_res = logits(prompt, view, scale=scale, radius_px=self._radius_px, low_res_size=LOW_RES_SIZE)
                answer.low_res_mask.CopyFrom(tensor_to_message(low_res))
            if patch is not None:
                refined, answer.refinement_outcome = _refined(full, patch, request.refinement)
                if refined is not None:
                    answer.refined_mask.CopyFrom(mask_to_message(refined, packed=packed))
            answers.append(answer)
        return answers


def _check_revision(wanted: str, model: FakeModel) -> None:
    if wanted not in ("", model.decoder_revision):
        raise ModelNotFound("this decoder revision is not served here", field="decoder_revision")


def _set_worth(answer: pb.PredictedMask, model: FakeModel, *, calibrated: bool) -> None:
    if not calibrated:
        answer.score_calibration = pb.SCORE_CALIBRATION_NOT_CALIBRATED
        return
    answer.score_calibration = pb.SCORE_CALIBRATION_CALIBRATED
    answer.expected_iou = answer.iou_prediction - _OVERCONFIDENCE if answer.area_px else 0.0
    answer.abstain = not answer.area_px or answer.expected_iou < model.abstain_below


def _refined(
    drawn: BoolMask, patch: Pixels, where: pb.Refinement
) -> tuple[BoolMask | None, pb.RefinementOutcome.ValueType]:
    """Keeps of the drawing what is brighter than the middle between the darkest and the brightest value around it."""
    if not drawn.any():
        return None, pb.REFINEMENT_OUTCOME_KEPT_EMPTY
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    top, bottom = max(0, int(rows[0]) - _MARGIN_PX), min(drawn.shape[0], int(rows[-1]) + _MARGIN_PX + 1)
    left, right = max(0, int(columns[0]) - _MARGIN_PX), min(drawn.shape[1], int(columns[-1]) + _MARGIN_PX + 1)
    first_row, first_column = top - where.offset_y_px, left - where.offset_x_px
    last_row, last_column = bottom - where.offset_y_px, right - where.offset_x_px
    if min(first_row, first_column) < 0 or last_row > patch.shape[0] or last_column > patch.shape[1]:
        return None, pb.REFINEMENT_OUTCOME_KEPT_NOT_COVERED
    values = patch[first_row:last_row, first_column:last_column].astype(np.float64)
    refined = np.zeros_like(drawn)
    refined[top:bottom, left:right] = drawn[top:bottom, left:right] & (values > (values.min() + values.max()) / 2)
    if not refined.any():
        return None, pb.REFINEMENT_OUTCOME_KEPT_LOW_CONTRAST
    return refined, pb.REFINEMENT_OUTCOME_APPLIED
