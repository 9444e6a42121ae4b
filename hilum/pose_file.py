"""Poses in files: the contract's messages as protobuf JSON, so that any language reads and writes them.

A file of radiographs holds what `hilum.v1.PoseEstimation` says of them, with the name of an image file in the place of
pixels:

    {"radiographs": [{"image": "ap.dcm",
                      "detector": {"origin_mm": [-200, 200, 150], "spacing_mm": [0.5, 0.5, 0],
                                   "direction": [1, 0, 0, 0, 0, 1, 0, -1, 0]},
                      "cone": {"source_mm": [0, -900, 0]}}],
     "initial_pose": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format

from hilum.codec.poses import pose_to_message, radiograph_from_message
from hilum.codec.tensors import tensor_to_message
from hilum.errors import InvalidField
from hilum.files import MAX_PIXELS
from hilum.geometry import Float
from hilum.images import read_image
from hilum.pose import EstimatedPose, Radiograph
from hilum.v1 import pose_pb2

# Geometry takes a few hundred bytes.
_MAX_BYTES = 1 << 20


def read_radiographs(path: str | os.PathLike[str]) -> tuple[list[Radiograph], Float | None]:
    """Reads radiographs with their geometry, and the initial pose, None where the file names none.

    Images are looked for beside the file.

    Raises:
        InvalidField: The file is not of this kind, or its geometry is impossible.
        InvalidTensor: An image has colour.
        UnreadableImage: An image cannot be read.
        OSError: The file cannot be read.
    """
    file = Path(path)
    content = _content(file)
    radiographs = [
        _radiograph(entry, f"radiographs[{index}]", file) for index, entry in enumerate(content["radiographs"])
    ]
    initial = content.get("initial_pose")
    return radiographs, None if initial is None else _matrix(initial, file)


def write_pose(path: str | os.PathLike[str], pose: EstimatedPose) -> None:
    """Writes a pose as `hilum.v1.EstimatedPose`, with its flags and what was not seen.

    Raises:
        OSError: The file cannot be written.
    """
    text = json_format.MessageToJson(pose_to_message(pose), preserving_proto_field_name=True, indent=2)
    Path(path).write_text(f"{text}\n", encoding="utf-8")


def _content(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _MAX_BYTES:
        raise InvalidField("is no file of radiographs: it is too large", field=file.name)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidField("is no JSON; see `hilum pose` in docs/reference/cli.md", field=file.name) from error
    if not isinstance(content, dict) or not isinstance(content.get("radiographs"), list):
        raise InvalidField("needs a list named radiographs; see docs/reference/cli.md", field=file.name)
    unknown = sorted(set(content) - {"radiographs", "initial_pose"})
    if unknown:
        raise InvalidField(f"has fields of no meaning here: {', '.join(unknown)}", field=file.name)
    return content


def _radiograph(entry: object, field: str, file: Path) -> Radiograph:
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise InvalidField("needs the name of an image file under image", field=field)
    known = {name: value for name, value in entry.items() if name != "image"}
    try:
        message = json_format.ParseDict(known, pose_pb2.PlacedRadiograph())
    except json_format.ParseError as error:
        raise InvalidField(f"is not as the contract has it: {error}", field=field) from error
    image = read_image(file.parent / entry["image"])
    message.pixels.CopyFrom(tensor_to_message(image.pixels))
    if image.padding_value is not None and not message.HasField("padding_value"):
        message.padding_value = image.padding_value
    return radiograph_from_message(message, field, max_pixels=MAX_PIXELS)


def _matrix(numbers: object, file: Path) -> Float:
    try:
        return np.array(numbers, np.float64).reshape(4, 4)
    except (TypeError, ValueError) as error:
        raise InvalidField(f"{file.name}: needs sixteen numbers", field="initial_pose") from error
