"""Requests to register volumes, written field by field: a lumpy ball, and the same stored otherwise."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.messages import DATA_TYPES, tensor
from tests.contract.posing import VOXELS

FIXED = VOXELS
SIDE, SPACING_MM = len(VOXELS), 6.0
# Stored with x against the patient's left, and lying elsewhere by this.
SHIFT_MM = np.array([9.0, -30.0, 12.0])
MOVING: NDArray[np.int16] = np.ascontiguousarray(VOXELS[:, :, ::-1])


def frame(origin: Any, direction: Any = (1, 0, 0, 0, 1, 0, 0, 0, 1), spacing: Any = (SPACING_MM,) * 3) -> Any:
    """Returns a geometry in the patient."""
    plane = image_pb2.PatientLps(origin_mm=origin, direction=direction, spacing_mm=spacing)
    return image_pb2.ImageGeometry(patient_lps=plane)


FIXED_PLACE = frame((0, 0, 0))
MOVING_PLACE = frame(np.add(SHIFT_MM, ((SIDE - 1) * SPACING_MM, 0, 0)), (-1, 0, 0, 0, 1, 0, 0, 0, 1))


def described(voxels: NDArray[Any], geometry: Any, **fields: Any) -> pb.FusionVolume:
    """Returns the description of a volume."""
    known: dict[str, Any] = {"shape": voxels.shape, "data_type": DATA_TYPES[voxels.dtype.name], "geometry": geometry}
    return pb.FusionVolume(**known | fields)


def registering_volumes(
    fixed: NDArray[Any] = FIXED,
    moving: NDArray[Any] = MOVING,
    *,
    chunk_bytes: int = 30_000,
    volumes: dict[str, pb.FusionVolume] | None = None,
    **fields: Any,
) -> Iterator[pb.RegisterVolumesRequest]:
    """Returns the messages that register two volumes; `volumes` replaces their descriptions."""
    known: dict[str, Any] = {
        "fixed": described(fixed, FIXED_PLACE),
        "moving": described(moving, MOVING_PLACE),
        "transform_model": pb.TRANSFORM_MODEL_RIGID,
        **(volumes or {}),
    }
    yield pb.RegisterVolumesRequest(registration=pb.VolumeRegistration(**known | fields))
    for voxels in (fixed, moving):
        data = tensor(voxels).data
        for begin in range(0, len(data), chunk_bytes):
            yield pb.RegisterVolumesRequest(voxels=data[begin : begin + chunk_bytes])
