"""Points taken from one image to the other, in the unit that the caller speaks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hilum.codec.transforms import flags_to_message
from hilum.errors import InvalidField, LimitExceeded
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb

MAX_POINTS = 100_000
_DIRECTIONS = (pb.TRANSFORM_DIRECTION_FIXED_TO_MOVING, pb.TRANSFORM_DIRECTION_MOVING_TO_FIXED)
_DIMENSIONS = {pb.POINT_UNIT_PX: (2, 3), pb.POINT_UNIT_PLANE_MM: (2,), pb.POINT_UNIT_PATIENT_LPS_MM: (3,)}


def points_from_message(request: pb.TransformPointsRequest) -> Float:
    """Returns the request's points, (n, 2) or (n, 3) after its unit; of pixels, as many as the first point has.

    Raises:
        InvalidField: Direction or unit are unspecified, or a point has not as many finite numbers as the unit wants.
        LimitExceeded: More than 100000 points.
    """
    if request.direction not in _DIRECTIONS:
        raise InvalidField("must be FIXED_TO_MOVING or MOVING_TO_FIXED", field="direction")
    accepted = _DIMENSIONS.get(request.unit)
    if accepted is None:
        raise InvalidField("must be PX, PLANE_MM or PATIENT_LPS_MM", field="unit")
    if len(request.points) > MAX_POINTS:
        raise LimitExceeded(f"{len(request.points)} points; at most {MAX_POINTS}", field="points")
    values = [tuple(point.values) for point in request.points]
    dimensions = len(values[0]) if values and len(values[0]) in accepted else accepted[0]
    for index, point in enumerate(values):
        if len(point) != dimensions or not all(map(math.isfinite, point)):
            raise InvalidField(f"needs {dimensions} finite numbers", field=f"points[{index}]")
    return np.array(values, np.float64).reshape(-1, dimensions)


def points_to_message(points: Float, flags: Sequence[str]) -> pb.TransformPointsResponse:
    """Returns the answer with points (n, 2) or (n, 3) and the transform's flags."""
    return pb.TransformPointsResponse(
        points=[pb.Coordinates(values=point) for point in points.tolist()], flags=flags_to_message(flags)
    )


def transformed(transform: Transform, points: Float, request: pb.TransformPointsRequest) -> Float:
    """Returns the points' places in the other image.

    Raises:
        FrameNotSupported: The unit needs spacing, or patient coordinates, that an image lacks.
        InvalidField: Pixels have another number of coordinates than the transform takes, or points cannot be taken back
            as the displacement field folds there.
    """
    if not len(points):
        return points
    inverse = request.direction == pb.TRANSFORM_DIRECTION_MOVING_TO_FIXED
    if request.unit == pb.POINT_UNIT_PX:
        if points.shape[1] != transform.warp.dimension:
            raise InvalidField(f"needs {transform.warp.dimension} finite numbers", field="points[0]")
        return transform.apply(points, inverse=inverse)
    if request.unit == pb.POINT_UNIT_PLANE_MM:
        return transform.apply_plane_mm(points, inverse=inverse)
    return transform.apply_patient(points, inverse=inverse)
