"""Transforms in files: the contract's `hilum.v1.Transform` as protobuf JSON, so that any language reads them."""

from __future__ import annotations

import os
from pathlib import Path

from google.protobuf import json_format

from hilum.codec.transforms import transform_from_message, transform_to_message
from hilum.errors import InvalidField
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb

# The displacements of a volume of 200 x 200 x 200 voxels, in base64; whatever is larger is something else.
_MAX_BYTES = 1 << 27


def write_transform(path: str | os.PathLike[str], transform: Transform) -> None:
    """Writes a transform, with its geometries, its flags and its id; numbers are kept exactly.

    Raises:
        OSError: The file cannot be written.
    """
    text = json_format.MessageToJson(transform_to_message(transform), preserving_proto_field_name=True, indent=2)
    Path(path).write_text(f"{text}\n", encoding="utf-8")


def read_transform(path: str | os.PathLike[str]) -> Transform:
    """Reads a transform that `write_transform` wrote.

    Raises:
        InvalidField: The file is no transform, or its content is not what its transform_id stands for: a flag or a
            number was changed since it was written.
        InvalidTensor: Its displacements are damaged.
        OSError: The file cannot be read.
    """
    file = Path(path)
    if file.stat().st_size > _MAX_BYTES:
        raise InvalidField("is no transform file: it is too large; `hilum register` writes one", field=file.name)
    try:
        message = json_format.Parse(file.read_text(encoding="utf-8"), pb.Transform())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidField("is no transform file: `hilum register` writes one", field=file.name) from error
    if not message.transform_id:
        raise InvalidField("has no transform_id: register the images again", field=file.name)
    try:
        return transform_from_message(message, file.name)
    except InvalidField as error:
        if error.field == f"{file.name}.transform_id":
            reason = "was changed since it was written: register the images again"
            raise InvalidField(reason, field=file.name) from error
        raise
