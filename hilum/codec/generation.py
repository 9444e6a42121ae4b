"""Requests to generate masks, checked, and the masks that come back."""

from __future__ import annotations

from hilum.codec.masks import mask_from_message
from hilum.codec.prompts import box_from_message
from hilum.errors import InvalidField, LimitExceeded
from hilum.generation import GeneratedMask, GenerationParameters
from hilum.types import Point
from hilum.v1 import decoder_service_pb2 as pb

MAX_CROPS = 20
MAX_LAYER = 8
MAX_STABILITY_OFFSET = 100.0
_MAX_PIXELS = 1 << 28
# Counts: the largest accepted.
_COUNTS = {"points_per_side": 128, "points_per_batch": 64, "crop_n_points_downscale_factor": 128}
_SHARES = ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "crop_nms_thresh")
_SENT = (*_COUNTS, *_SHARES, "stability_score_offset", "min_mask_region_area")


def parameters_to_message(parameters: GenerationParameters) -> pb.GenerateMasksRequest:
    """Returns a request with these parameters, still without embeddings."""
    return pb.GenerateMasksRequest(**{name: getattr(parameters, name) for name in _SENT})


def parameters_from_message(request: pb.GenerateMasksRequest) -> GenerationParameters:
    """Returns the parameters, those that are absent at their defaults; crop_n_layers is the caller's and stays so.

    Raises:
        InvalidField: A number is out of its range or not finite.
        LimitExceeded: More points or crops than are accepted.
    """
    if len(request.crops) > MAX_CROPS:
        raise LimitExceeded(f"{len(request.crops)} crops; at most {MAX_CROPS}", field="crops")
    parameters = GenerationParameters(
        **{name: getattr(request, name) for name in _SENT if request.HasField(name)}  # type: ignore[arg-type]
    )
    for name, limit in _COUNTS.items():
        count = getattr(parameters, name)
        if count < 1:
            raise InvalidField("must be at least 1", field=name)
        if count > limit:
            raise LimitExceeded(f"{count}; at most {limit}", field=name)
    for name in _SHARES:
        if not 0 <= getattr(parameters, name) <= 1:
            raise InvalidField("must lie in [0, 1]", field=name)
    if not 0 < parameters.stability_score_offset <= MAX_STABILITY_OFFSET:
        raise InvalidField(f"must be above 0 and at most {MAX_STABILITY_OFFSET:g}", field="stability_score_offset")
    return parameters


def crop_layer_from_message(crop: pb.GenerationCrop, field: str) -> int:
    """Returns a crop's layer; InvalidField where it is out of range or the crop has no placement."""
    if not crop.HasField("placement"):
        raise InvalidField("is required", field=f"{field}.placement")
    if not 1 <= crop.layer <= MAX_LAYER:
        raise InvalidField(f"must lie between 1 and {MAX_LAYER}", field=f"{field}.layer")
    return crop.layer


def generated_mask_from_message(message: pb.GeneratedMask, field: str) -> GeneratedMask:
    """Returns a mask that was found."""
    found = message.mask
    return GeneratedMask(
        mask=mask_from_message(found.mask, field, size=None, max_pixels=_MAX_PIXELS),
        area_px=found.area_px,
        bounding_box=box_from_message(found.bounding_box),
        model_score=found.iou_prediction,
        stability_score=found.stability_score,
        point=Point(message.point.x, message.point.y),
        crop_box=box_from_message(message.crop_box),
    )
