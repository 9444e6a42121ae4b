"""Points taken through a transform as they come, such as a tracked instrument's tip."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import ArrayLike

from hilum.codec.transforms import reference_to_message
from hilum.errors import BackendUnavailable, from_rpc_error
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb


class PointStream:
    """One call that stays open: the transform travels once, then points only. An error ends it.

    Args:
        call: A StreamTransformPoints call.
        transform: Fixed to moving, or its id.
        direction: Of every point.
        unit: Of every point.

    Example:
        async with client.point_stream(transform) as stream:
            tip = await stream.move([[120.5, 87.0]])
    """

    def __init__(
        self,
        call: Any,
        transform: Transform | bytes,
        direction: pb.TransformDirection.ValueType,
        unit: pb.PointUnit.ValueType,
    ) -> None:
        self._call = call
        self._reference: pb.TransformReference | None = reference_to_message(transform)
        self._direction, self._unit = direction, unit

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call.cancel()

    async def move(self, points: ArrayLike) -> Float:
        """Returns the places of points, (n, 2) or (n, 3), in the other image; one call at a time.

        Raises:
            HilumError: What the service answered; see hilum.errors.
        """
        given = np.atleast_2d(np.asarray(points, dtype=np.float64))
        asked = pb.TransformPointsRequest(
            transform=self._reference,
            points=[pb.Coordinates(values=point) for point in given.tolist()],
            direction=self._direction,
            unit=self._unit,
        )
        try:
            await self._call.write(pb.StreamTransformPointsRequest(asked=asked))
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        if response is grpc.aio.EOF:
            raise BackendUnavailable("the service ended the stream; open another")
        self._reference = None
        return np.array([list(point.values) for point in response.found.points]).reshape(given.shape)
