"""Requests to estimate poses, written field by field: a body and its sums along two of its axes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2, pose_pb2
from tests.contract.fusing import patient
from tests.contract.messages import DATA_TYPES, tensor

SIDE, SPACING_MM = 36, 6.0


def body() -> NDArray[np.int16]:
    """Returns a lumpy ball in air, (depth, height, width), in HU; depth runs towards the head."""
    z, y, x = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    relative = 0.9 * (x**2 / 196 + y**2 / 110 + z**2 / 240 < 1)
    for number in range(24):
        place = np.random.default_rng(number).uniform(-8, 8, 3)
        distance = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
        relative = relative + (0.9 if number % 2 else -0.25) * np.exp(-distance / 4)
    return np.asarray((1000 * (relative - 1)).clip(-1000, 3000), np.int16)


VOXELS = body()
FRAME = patient(spacing=(SPACING_MM,) * 3)
# Rays along y with rows from the head to the feet, and along x.
FROM_THE_FRONT = (1, 0, 0, 0, 0, 1, 0, -1, 0)
FROM_THE_RIGHT = (0, 0, -1, 1, 0, 0, 0, -1, 0)


def view(axis: int, **fields: Any) -> pose_pb2.PlacedRadiograph:
    """Returns the sums along array axis 1 (from the front) or 2 (from the right), as seen by parallel rays."""
    sums = np.maximum(1 + VOXELS / 1000, 0).sum(axis=axis)[::-1].astype(np.float32)
    top = (SIDE - 1) * SPACING_MM
    known: dict[str, Any] = {
        "pixels": tensor(sums),
        "detector": image_pb2.PatientLps(
            origin_mm=(0, 400, top) if axis == 1 else (400, 0, top),
            spacing_mm=(SPACING_MM, SPACING_MM, 0),
            direction=FROM_THE_FRONT if axis == 1 else FROM_THE_RIGHT,
        ),
    }
    if "cone" not in fields:
        known["parallel"] = pose_pb2.ParallelBeam(direction=(0, 1, 0) if axis == 1 else (1, 0, 0))
    return pose_pb2.PlacedRadiograph(**known | fields)


def posing(
    voxels: NDArray[Any] = VOXELS, *, chunk_bytes: int = 30_000, **fields: Any
) -> Iterator[pb.EstimatePoseRequest]:
    """Returns the messages that estimate the pose of a volume, from two views unless told otherwise."""
    known: dict[str, Any] = {
        "shape": voxels.shape,
        "data_type": DATA_TYPES[voxels.dtype.name],
        "geometry": FRAME,
        "radiographs": [view(1), view(2)],
    }
    yield pb.EstimatePoseRequest(estimation=pose_pb2.PoseEstimation(**known | fields))
    data = tensor(voxels).data
    for begin in range(0, len(data), chunk_bytes):
        yield pb.EstimatePoseRequest(voxels=data[begin : begin + chunk_bytes])
