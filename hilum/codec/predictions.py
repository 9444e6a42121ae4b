"""Answers of encoder and decoder as values."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from hilum.codec.masks import mask_from_message
from hilum.codec.prompts import box_from_message
from hilum.codec.tensors import check_answer_bytes, tensor_from_message
from hilum.errors import InvalidField
from hilum.types import EncodedImage, PredictedMask
from hilum.v1 import decoder_service_pb2, encoder_service_pb2, image_pb2

_MAX_PIXELS = 1 << 28


def check_answer_size(
    request: decoder_service_pb2.PredictMasksRequest,
    prompts: int,
    size: tuple[int, int],
    low_res_size: int,
    *,
    max_bytes: int,
) -> None:
    """Refuses requests whose packed bits and low-resolution masks do not fit into one message: LimitExceeded.

    Args:
        request: How masks are returned.
        prompts: How many prompts are answered.
        size: (height, width) of the masks.
        low_res_size: Side of low-resolution masks.
        max_bytes: Largest message.
    """
    height, width = size
    mask_bytes = 0
    if request.mask_encoding == image_pb2.MASK_ENCODING_PACKED_BITS:
        mask_bytes += height * -(-width // 8) * (2 if request.HasField("refinement") else 1)
    if request.return_low_res_masks:
        mask_bytes += 4 * low_res_size**2
    answer_bytes = prompts * (3 if request.multimask_output else 1) * mask_bytes
    check_answer_bytes(answer_bytes, "prompts", max_bytes=max_bytes)


def opening_from_message(
    message: decoder_service_pb2.StreamPredictMasksRequest | None,
) -> decoder_service_pb2.PredictMasksRequest:
    """Returns what the first message of a stream of prompts says.

    Args:
        message: The message, None for a stream without any.

    Raises:
        InvalidField: It says nothing, or brings prompts.
    """
    if message is None or message.WhichOneof("content") != "opening":
        raise InvalidField("the first message must say of which image masks are wanted", field="opening")
    if message.opening.prompts:
        raise InvalidField("must be empty: prompts come in messages of their own", field="opening.prompts")
    return message.opening


def update_from_message(
    message: decoder_service_pb2.StreamPredictMasksRequest, last: int | None
) -> decoder_service_pb2.PromptUpdate:
    """Returns what a later message of a stream of prompts says; its prompts are not looked at.

    Args:
        message: The message.
        last: Sequence number of the message before, None for the first update.

    Raises:
        InvalidField: It is no update, or its number is not larger than the last.
    """
    if message.WhichOneof("content") != "update":
        raise InvalidField("must be prompts in every message but the first", field="update")
    if last is not None and message.update.sequence_number <= last:
        raise InvalidField(f"must be larger than {last}, the one before", field="update.sequence_number")
    return message.update


def timings_from_message(message: Message) -> dict[str, float]:
    """Returns the fields of a timings message that end in _ms."""
    return {
        field.name: float(getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.name.endswith("_ms")
    }


def encoded_from_message(message: encoder_service_pb2.EncodeImageResponse) -> EncodedImage:
    """Returns an encoder's answer."""
    return EncodedImage(
        embedding_id=message.embedding_id,
        cache_hit=message.cache_hit,
        model=message.model,
        encoder_revision=message.encoder_revision,
        timings_ms=timings_from_message(message.timings),
    )


def masks_from_response(
    response: decoder_service_pb2.PredictMasksResponse,
) -> list[tuple[PredictedMask, ...]]:
    """Returns the masks of every prompt, in the order asked."""
    return [
        tuple(_mask(mask, f"results[{index}].masks") for mask in result.masks)
        for index, result in enumerate(response.results)
    ]


def _mask(message: decoder_service_pb2.PredictedMask, field: str) -> PredictedMask:
    model_mask = mask_from_message(message.mask, field, size=None, max_pixels=_MAX_PIXELS)
    mask = model_mask
    if message.HasField("refined_mask"):
        mask = mask_from_message(message.refined_mask, field, size=None, max_pixels=_MAX_PIXELS)
    low_res_mask = None
    if message.HasField("low_res_mask"):
        low_res_mask = tensor_from_message(message.low_res_mask, field, types=("float32",))
    return PredictedMask(
        mask=mask,
        model_mask=model_mask,
        model_score=message.iou_prediction,
        stability_score=message.stability_score,
        area_px=message.area_px,
        bounding_box=box_from_message(message.bounding_box) if message.HasField("bounding_box") else None,
        empty_reason=_name(decoder_service_pb2.EmptyMaskReason.keys(), message.empty_reason, "EMPTY_MASK_REASON_"),
        refinement=_name(
            decoder_service_pb2.RefinementOutcome.keys(), message.refinement_outcome, "REFINEMENT_OUTCOME_"
        ),
        low_res_mask=low_res_mask,
        expected_iou=message.expected_iou if message.HasField("expected_iou") else None,
        abstain=message.abstain if message.HasField("abstain") else None,
    )


def _name(names: Sequence[str], number: int, prefix: str) -> str:
    """Returns an enum value's name in lower case, "" for zero, "unknown" for one of a newer contract."""
    if number == 0:
        return ""
    return names[number].removeprefix(prefix).lower() if number < len(names) else "unknown"
