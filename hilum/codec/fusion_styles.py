"""How two images are shown as one, in requests to fuse."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from hilum.codec.masks import mask_from_message
from hilum.errors import InvalidField, NoContent
from hilum.fusion_style import (
    AlphaBlend,
    BaseRule,
    Checkerboard,
    ColourOverlay,
    Flicker,
    FusionStyle,
    PyramidFusion,
)
from hilum.types import BoolMask, TargetContrast
from hilum.v1 import fusion_service_pb2 as pb

_STYLES: dict[int, type[FusionStyle]] = {
    pb.FUSION_STYLE_UNSPECIFIED: PyramidFusion,
    pb.FUSION_STYLE_PYRAMID: PyramidFusion,
    pb.FUSION_STYLE_COLOUR_OVERLAY: ColourOverlay,
    pb.FUSION_STYLE_ALPHA_BLEND: AlphaBlend,
    pb.FUSION_STYLE_CHECKERBOARD: Checkerboard,
    pb.FUSION_STYLE_FLICKER: Flicker,
}
_NUMBERS = {style: number for number, style in _STYLES.items()}
# Options are named in the contract as they are here; the target goes with the pyramid alone.
_OPTIONS = {style: {field.name for field in fields(style)} for style in _NUMBERS}
_ALL_OPTIONS = set().union(*_OPTIONS.values())


def style_to_request(style: FusionStyle) -> pb.FuseImagesRequest:
    """Returns a request with this style, still without images."""
    options: dict[str, Any] = {name: getattr(style, name) for name in _OPTIONS[type(style)]}
    if isinstance(style, PyramidFusion):
        options["base_rule"] = style.base_rule.value
    return pb.FuseImagesRequest(style=pb.FusionStyle.ValueType(_NUMBERS[type(style)]), **options)


def style_from_request(request: pb.FuseImagesRequest) -> FusionStyle:
    """Returns the style asked for, options that are absent or zero at their defaults.

    Raises:
        InvalidField: The style is unknown, an option is out of its range, or it belongs to another style.
    """
    style = _STYLES.get(request.style)
    if style is None:
        raise InvalidField("is not known here", field="style")
    given: dict[str, Any] = {
        field.name: value for field, value in request.ListFields() if field.name in _ALL_OPTIONS | {"target"}
    }
    own = _OPTIONS[style] | ({"target"} if style is PyramidFusion else set())
    for name in sorted(given.keys() - own):
        raise InvalidField("is an option of another style", field=name)
    given.pop("target", None)
    if "base_rule" in given:
        given["base_rule"] = _base_rule(given["base_rule"])
    return style(**given)


def _base_rule(number: int) -> BaseRule:
    try:
        return BaseRule(number)
    except ValueError:
        raise InvalidField("is not known here", field="base_rule") from None


def fusion_target(request: pb.FuseImagesRequest, size: tuple[int, int]) -> BoolMask | None:
    """Returns the target in an image of this (height, width), None where there is none.

    Raises:
        InvalidTensor: The mask is malformed.
        InvalidField: It is of another size.
        NoContent: It is empty.
    """
    if not request.HasField("target"):
        return None
    mask = mask_from_message(request.target, "target", size=size, max_pixels=math.prod(size))
    if not mask.any():
        raise NoContent("the mask is empty", field="target")
    return mask


def answer_bytes(style: FusionStyle, size: tuple[int, int]) -> int:
    """Returns how many bytes the pictures take that are sent for images of this (height, width)."""
    planes = 3 if isinstance(style, ColourOverlay) else 2 if isinstance(style, Flicker) else 1
    # The fixed and the resampled moving image go with them.
    return (planes + 2) * math.prod(size)


def target_contrast_to_message(contrast: TargetContrast | None) -> pb.TargetContrast | None:
    """Returns the message; None for None."""
    if contrast is None:
        return None
    return pb.TargetContrast(fixed=contrast.fixed, moving=contrast.moving, fused=contrast.fused)


def target_contrast_from_response(response: pb.FuseImagesResponse) -> TargetContrast | None:
    """Returns how visible the target is, None where none was given."""
    if not response.HasField("target_contrast"):
        return None
    contrast = response.target_contrast
    return TargetContrast(contrast.fixed, contrast.moving, contrast.fused)
