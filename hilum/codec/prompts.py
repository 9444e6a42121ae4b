"""Prompts: points, boxes and mask inputs, in full-image pixels."""

from __future__ import annotations

import math

import numpy as np

from hilum.codec.tensors import tensor_from_message, tensor_to_message
from hilum.errors import InvalidField, InvalidTensor, LimitExceeded, OutsideImage
from hilum.types import Box, Point, Prompt
from hilum.v1 import image_pb2

MAX_POINTS = 64
LOW_RES_SIZE = 256
# Squares of larger ones overflow in the model, whose answer would then be no number.
MAX_LOGIT = 1e6
_HALF_PIXEL = 0.5


def prompt_to_message(prompt: Prompt) -> image_pb2.Prompt:
    """Returns the message for a prompt."""
    message = image_pb2.Prompt()
    for point in prompt.points:
        label = image_pb2.POINT_LABEL_FOREGROUND if point.foreground else image_pb2.POINT_LABEL_BACKGROUND
        message.points.add(point=image_pb2.Point(x=point.x, y=point.y), label=label)
    if prompt.box is not None:
        message.box.CopyFrom(box_to_message(prompt.box))
    if prompt.mask_input is not None:
        message.mask_input.CopyFrom(tensor_to_message(prompt.mask_input))
    return message


def box_to_message(box: Box) -> image_pb2.Box:
    """Returns the message for a box."""
    return image_pb2.Box(x_min=box.x_min, y_min=box.y_min, x_max=box.x_max, y_max=box.y_max)


def box_from_message(message: image_pb2.Box) -> Box:
    """Returns the box, unchecked."""
    return Box(message.x_min, message.y_min, message.x_max, message.y_max)


def prompt_from_message(
    message: image_pb2.Prompt, field: str, image_size: tuple[int, int], low_res_size: int = LOW_RES_SIZE
) -> Prompt:
    """Returns the prompt for an image of this (height, width) and a model with low-resolution masks of this side.

    A box that reaches beyond the image is cut at its edges: no model has seen what lies there.

    Raises:
        InvalidField: Nothing is given, a label is unspecified, a number is not finite, or a box has no area.
        InvalidTensor: mask_input is not FLOAT32 of the model's low-resolution size, or holds absurd logits.
        LimitExceeded: More than 64 points.
        OutsideImage: A point, or a whole box, lies outside the image.
    """
    if len(message.points) > MAX_POINTS:
        raise LimitExceeded(f"{len(message.points)} points; at most {MAX_POINTS}", field=f"{field}.points")
    points = tuple(_point(point, f"{field}.points[{index}]", image_size) for index, point in enumerate(message.points))
    box = _box(message.box, f"{field}.box", image_size) if message.HasField("box") else None
    mask_input = None
    if message.HasField("mask_input"):
        mask_input = tensor_from_message(message.mask_input, f"{field}.mask_input", types=("float32",))
        if mask_input.shape != (low_res_size, low_res_size):
            raise InvalidTensor(
                f"has shape {list(mask_input.shape)}; send the low_res_mask of a previous answer, "
                f"({low_res_size}, {low_res_size})",
                field=f"{field}.mask_input",
            )
        if np.abs(mask_input).max() > MAX_LOGIT:
            raise InvalidTensor(f"holds logits beyond {MAX_LOGIT:g}; no model's are", field=f"{field}.mask_input")
    if not points and box is None and mask_input is None:
        raise InvalidField("is empty: give points, a box, or mask_input", field=field)
    return Prompt(points, box, mask_input)


def _point(message: image_pb2.LabelledPoint, field: str, image_size: tuple[int, int]) -> Point:
    if message.label not in (image_pb2.POINT_LABEL_FOREGROUND, image_pb2.POINT_LABEL_BACKGROUND):
        raise InvalidField("must be FOREGROUND or BACKGROUND", field=f"{field}.label")
    x, y = message.point.x, message.point.y
    height, width = image_size
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InvalidField("must be finite", field=f"{field}.point")
    if not (-_HALF_PIXEL <= x <= width - _HALF_PIXEL and -_HALF_PIXEL <= y <= height - _HALF_PIXEL):
        raise OutsideImage(
            f"({x:g}, {y:g}) lies outside an image of width {width} and height {height}", field=f"{field}.point"
        )
    return Point(x, y, message.label == image_pb2.POINT_LABEL_FOREGROUND)


def _box(message: image_pb2.Box, field: str, image_size: tuple[int, int]) -> Box:
    box = box_from_message(message)
    if not all(math.isfinite(edge) for edge in (box.x_min, box.y_min, box.x_max, box.y_max)):
        raise InvalidField("edges must be finite", field=field)
    if not (box.x_min < box.x_max and box.y_min < box.y_max):
        raise InvalidField("x_min < x_max and y_min < y_max must hold", field=field)
    height, width = image_size
    if (
        box.x_max <= -_HALF_PIXEL
        or box.y_max <= -_HALF_PIXEL
        or box.x_min >= width - _HALF_PIXEL
        or (box.y_min >= height - _HALF_PIXEL)
    ):
        raise OutsideImage(f"lies outside an image of width {width} and height {height}", field=field)
    return Box(
        max(box.x_min, -_HALF_PIXEL),
        max(box.y_min, -_HALF_PIXEL),
        min(box.x_max, width - _HALF_PIXEL),
        min(box.y_max, height - _HALF_PIXEL),
    )
