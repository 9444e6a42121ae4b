"""What fusion's requests carry, as values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hilum.codec.images import geometry_from_message, group_from_message, mapping_from_message
from hilum.codec.masks import mask_from_message
from hilum.codec.modality import modality_from_message
from hilum.codec.prompts import prompt_from_message
from hilum.codec.tensors import image_pixels_from_message
from hilum.errors import InvalidField, LimitExceeded
from hilum.types import BoolMask, Image, ImageSource, IntensityMapping, Prompt
from hilum.v1 import fusion_service_pb2 as pb

MAX_TARGETS = 16


@dataclass(frozen=True)
class MappedImage:
    """An image and how its values become grey levels, where the request says so."""

    image: Image
    mapping: IntensityMapping | None


def image_from_message(
    message: pb.FusionImage, field: str, *, max_pixels: int, mapping_required: bool = False
) -> MappedImage:
    """Returns an image (height, width).

    Raises:
        InvalidTensor: The pixels are malformed.
        InvalidField: Geometry, padding, mapping or modality are, or the mapping is required and missing.
        LimitExceeded: More than max_pixels.
    """
    pixels = image_pixels_from_message(message.pixels, f"{field}.pixels", max_pixels=max_pixels, colour=False)
    padding = message.padding_value if message.HasField("padding_value") else None
    if padding is not None and not math.isfinite(padding):
        raise InvalidField("must be finite", field=f"{field}.padding_value")
    mapping = None
    if mapping_required or message.HasField("intensity_mapping"):
        mapping = mapping_from_message(message.intensity_mapping, f"{field}.intensity_mapping")
    geometry = geometry_from_message(message.geometry, f"{field}.geometry")
    source = ImageSource(modality=modality_from_message(message.modality, f"{field}.modality"))
    group = group_from_message(message.group, f"{field}.group")
    image = Image(pixels, geometry, padding, source=source, group=group)
    return MappedImage(image, mapping)


@dataclass(frozen=True)
class Outline:
    """A target in one image: a mask, or a prompt for one; `field` is its path in the request."""

    given: BoolMask | Prompt
    field: str


def targets_from_message(
    messages: Sequence[pb.TargetPair], fixed: MappedImage, moving: MappedImage, *, max_pixels: int
) -> list[tuple[Outline, Outline]]:
    """Returns pairs of outlines, in fixed and in moving.

    Raises:
        LimitExceeded: More than 16.
        InvalidField: An outline is missing, or a prompt comes without an intensity mapping for its image.
        OutsideImage: A prompt lies outside its image.
    """
    if len(messages) > MAX_TARGETS:
        raise LimitExceeded(f"{len(messages)} targets; at most {MAX_TARGETS}", field="targets")
    return [
        (
            _outline(pair.in_fixed, f"targets[{index}].in_fixed", fixed, "fixed", max_pixels),
            _outline(pair.in_moving, f"targets[{index}].in_moving", moving, "moving", max_pixels),
        )
        for index, pair in enumerate(messages)
    ]


def _outline(message: pb.Target, field: str, mapped: MappedImage, name: str, max_pixels: int) -> Outline:
    size = mapped.image.size
    match message.WhichOneof("outline"):
        case "mask":
            mask = mask_from_message(message.mask, f"{field}.mask", size=size, max_pixels=max_pixels)
            return Outline(mask, f"{field}.mask")
        case "prompt":
            if mapped.mapping is None:
                raise InvalidField("is required for targets given as prompts", field=f"{name}.intensity_mapping")
            return Outline(prompt_from_message(message.prompt, f"{field}.prompt", size), f"{field}.prompt")
        case _:
            raise InvalidField("needs a mask or a prompt", field=field)
