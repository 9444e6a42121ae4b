"""Decoded masks as messages."""

from __future__ import annotations

from collections.abc import Sequence

from hilum.codec.masks import mask_to_message, window_to_message
from hilum.codec.tensors import tensor_to_message
from hilum.serving.calibration import ScoreCalibration
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import image_pb2
from services.decoder.calibration import score_worth
from services.decoder.decoding import DecodedMask, DecodeTimings
from services.decoder.embeddings import Origin


def timings_to_message(timings: DecodeTimings, origin: Origin) -> pb.PredictTimings:
    """Returns where the time of a call went."""
    return pb.PredictTimings(
        embedding_ms=timings.embedding_ms,
        decode_ms=timings.decode_ms,
        postprocess_ms=timings.postprocess_ms,
        total_ms=timings.total_ms(),
        embedding_origin=pb.EmbeddingOrigin.ValueType(origin.value),
    )


def results_to_messages(
    decoded: Sequence[Sequence[DecodedMask]],
    request: pb.PredictMasksRequest,
    full_size: tuple[int, int],
    calibration: ScoreCalibration | None,
) -> list[pb.PromptResult]:
    """Returns the masks of every prompt as messages.

    Args:
        decoded: Masks by prompt.
        request: How they are returned.
        full_size: (height, width) of the full image.
        calibration: What scores are worth, None where that is not known.
    """
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
