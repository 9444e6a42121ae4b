"""Transforms and their references."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from hilum.codec.images import geometry_from_message, geometry_to_message, size_from_message, size_to_message
from hilum.codec.tensors import tensor_from_message, tensor_to_message
from hilum.digest import DIGEST_BYTES
from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb

_FLAG_PREFIX = "TRANSFORM_FLAG_"
FLAG_NAMES = frozenset(
    name.removeprefix(_FLAG_PREFIX)
    for name in pb.TransformFlag.keys()  # noqa: SIM118 - an enum wrapper, not a dict
) - {"UNSPECIFIED"}


def flag_name(flag: pb.TransformFlag.ValueType) -> str:
    """Returns a flag's name without its prefix, "UNKNOWN" for one of a newer contract."""
    if flag not in pb.TransformFlag.values():
        return "UNKNOWN"
    return pb.TransformFlag.Name(flag).removeprefix(_FLAG_PREFIX)


def flags_to_message(names: Iterable[str]) -> list[pb.TransformFlag.ValueType]:
    """Returns the flags of these names; ValueError for an unknown one."""
    return [pb.TransformFlag.Value(f"{_FLAG_PREFIX}{name}") for name in names]


def flags_from_message(flags: Iterable[pb.TransformFlag.ValueType], field: str) -> tuple[str, ...]:
    """Returns the names of flags, sorted; InvalidField for unspecified or unknown ones."""
    names = {flag_name(flag) for flag in flags}
    if not names <= FLAG_NAMES:
        raise InvalidField("holds a flag that is unspecified or not known here", field=field)
    return tuple(sorted(names))


def transform_to_message(transform: Transform) -> pb.Transform:
    """Returns the message for a transform."""
    return pb.Transform(
        transform_id=transform.transform_id,
        pixel_matrix=np.ravel(transform.pixel_matrix).tolist(),
        fixed_size=size_to_message(transform.fixed_size),
        moving_size=size_to_message(transform.moving_size),
        fixed_geometry=geometry_to_message(transform.fixed_geometry),
        moving_geometry=geometry_to_message(transform.moving_geometry),
        flags=flags_to_message(transform.flags),
        algorithm=transform.algorithm,
        displacement_field=_field_to_message(transform.displacement_field),
        fixed_slices=transform.fixed_slices,
        moving_slices=transform.moving_slices,
    )


def transform_from_message(message: pb.Transform, field: str) -> Transform:
    """Returns the transform.

    Raises:
        InvalidField: Numbers are missing, not finite, not affine or not invertible, or transform_id is not that of the
            content: flags cannot be taken off a transform without it becoming another one.
        InvalidTensor: The displacements' shape, type and length disagree, or they are not finite.
    """
    side = 4 if message.fixed_slices or message.moving_slices else 3
    matrix = _matrix(message.pixel_matrix, side, f"{field}.pixel_matrix")
    fixed_size, moving_size = size_from_message(message.fixed_size), size_from_message(message.moving_size)
    if 0 in fixed_size + moving_size:
        raise InvalidField("fixed_size and moving_size are required", field=field)
    displacements = None
    if message.HasField("displacement_field"):
        displacements = _field_from_message(message.displacement_field, f"{field}.displacement_field", side - 1)
    try:
        transform = Transform.from_matrix(
            matrix,
            (message.fixed_slices, *fixed_size) if side == 4 else fixed_size,
            (message.moving_slices, *moving_size) if side == 4 else moving_size,
            fixed_geometry=geometry_from_message(message.fixed_geometry, f"{field}.fixed_geometry"),
            moving_geometry=geometry_from_message(message.moving_geometry, f"{field}.moving_geometry"),
            flags=flags_from_message(message.flags, f"{field}.flags"),
            algorithm=message.algorithm,
            displacement_field=displacements,
        )
    except ValueError as error:
        raise InvalidField(str(error), field=f"{field}.pixel_matrix") from error
    if message.transform_id not in (b"", transform.transform_id):
        raise InvalidField(
            "is not the id of this content; leave it empty or send the transform as it was given",
            field=f"{field}.transform_id",
        )
    return transform


def _field_to_message(displacements: DisplacementField | None) -> pb.DisplacementField | None:
    if displacements is None:
        return None
    grid = np.ravel(displacements.grid).tolist()
    return pb.DisplacementField(values=tensor_to_message(displacements.values), grid_matrix=grid)


def _field_from_message(message: pb.DisplacementField, field: str, dimension: int) -> DisplacementField:
    values = tensor_from_message(message.values, f"{field}.values", types=("float32",), axes=(dimension + 1,))
    grid = None
    if message.grid_matrix:
        grid = _matrix(message.grid_matrix, dimension + 1, f"{field}.grid_matrix")
    try:
        return DisplacementField(values, grid)
    except ValueError as error:
        raise InvalidField(str(error), field=field) from error


def _matrix(numbers: Sequence[float], side: int, field: str) -> Float:
    if len(numbers) != side * side:
        raise InvalidField(f"holds {len(numbers)} numbers instead of {side * side}", field=field)
    return np.reshape(np.array(numbers, np.float64), (side, side))


def reference_to_message(transform: Transform | bytes) -> pb.TransformReference:
    """Returns the reference for a transform or its id."""
    if isinstance(transform, bytes):
        return pb.TransformReference(transform_id=transform)
    return pb.TransformReference(transform=transform_to_message(transform))


def reference_from_message(message: pb.TransformReference, field: str) -> Transform | bytes:
    """Returns the transform or its id; InvalidField where neither is given or an id has not 32 bytes."""
    match message.WhichOneof("reference"):
        case "transform":
            return transform_from_message(message.transform, f"{field}.transform")
        case "transform_id":
            if len(message.transform_id) != DIGEST_BYTES:
                raise InvalidField(
                    f"has {len(message.transform_id)} bytes instead of 32", field=f"{field}.transform_id"
                )
            return message.transform_id
        case _:
            raise InvalidField("needs transform or transform_id", field=field)
