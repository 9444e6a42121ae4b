"""A volume that arrives in pieces, and the geometry of its projections."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codec.images import geometry_from_message
from hilum.codec.tensors import IMAGE_TYPES, check_image_size
from hilum.digest import DATA_TYPE_CODES
from hilum.errors import FrameNotSupported, InvalidField, InvalidTensor, LimitExceeded
from hilum.geometry import ImageGeometry, PatientFrame, pixel_to_patient
from hilum.types import ProjectionAxis, ProjectionMethod
from hilum.v1 import fusion_service_pb2 as pb

_TYPE_NAMES = {code: name for name, code in DATA_TYPE_CODES.items() if name in IMAGE_TYPES}
# The two array axes that remain, as columns of the volume's direction: x of the picture, y of the picture.
_REMAINING = {ProjectionAxis.DEPTH: (0, 1), ProjectionAxis.HEIGHT: (0, 2), ProjectionAxis.WIDTH: (1, 2)}
_ALONG = {ProjectionAxis.DEPTH: 2, ProjectionAxis.HEIGHT: 1, ProjectionAxis.WIDTH: 0}


@dataclass(frozen=True)
class VolumeRequest:
    """What to project and how.

    Attributes:
        shape: (depth, height, width).
        data_type: Element type.
        geometry: PATIENT_LPS, or pixels only.
        axis: Array axis along which rays run.
        method: How rays become pixels.
        slab: Half-open range of indices along the axis, or None.
        padding_value: Value of voxels that are no image, or None.
    """

    shape: tuple[int, int, int]
    data_type: np.dtype[Any]
    geometry: ImageGeometry
    axis: ProjectionAxis
    method: ProjectionMethod
    slab: tuple[int, int] | None
    padding_value: float | None

    @property
    def nbytes(self) -> int:
        """Bytes that the voxels take."""
        return math.prod(self.shape) * self.data_type.itemsize

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """(x, y, slice) spacing, None in pixels."""
        frame = self.geometry.frame
        return frame.spacing_mm if isinstance(frame, PatientFrame) else None

    @property
    def axis_length(self) -> int:
        """Number of voxels along the rays."""
        return self.shape[2 - _ALONG[self.axis]]

    @property
    def projected_size(self) -> tuple[int, int]:
        """(height, width) of the projection."""
        height, width = (count for axis, count in enumerate(self.shape) if axis != 2 - _ALONG[self.axis])
        return height, width

    @classmethod
    def from_message(cls, message: pb.VolumeProjection, *, max_bytes: int, max_image_pixels: int) -> VolumeRequest:
        """Returns the request.

        Raises:
            InvalidField: Something is missing or out of range.
            LimitExceeded: The volume takes more than max_bytes, or its projection is larger than an image may be.
        """
        if len(message.shape) != 3 or 0 in message.shape:
            raise InvalidField("needs three numbers above 0: depth, height, width", field="projection.shape")
        depth, height, width = message.shape
        name = _TYPE_NAMES.get(message.data_type)
        if name is None:
            raise InvalidField(f"must be one of {', '.join(_TYPE_NAMES.values())}", field="projection.data_type")
        if message.axis not in (axis.value for axis in ProjectionAxis):
            raise InvalidField("must be DEPTH, HEIGHT or WIDTH", field="projection.axis")
        if message.method not in (method.value for method in ProjectionMethod):
            raise InvalidField("must be MEAN, ATTENUATION or MAXIMUM", field="projection.method")
        padding = message.padding_value if message.HasField("padding_value") else None
        if padding is not None and not math.isfinite(padding):
            raise InvalidField("must be finite", field="projection.padding_value")
        request = cls(
            (depth, height, width),
            np.dtype(name).newbyteorder("<"),
            _volume_geometry(message),
            ProjectionAxis(message.axis),
            ProjectionMethod(message.method),
            (message.slab.begin, message.slab.end) if message.HasField("slab") else None,
            padding,
        )
        if request.nbytes > max_bytes:
            raise LimitExceeded(f"{request.nbytes} bytes; at most {max_bytes}", field="projection.shape")
        check_image_size(request.projected_size, "projection.shape", max_pixels=max_image_pixels)
        if request.slab and not request.slab[0] < request.slab[1] <= request.axis_length:
            raise InvalidField(f"must satisfy begin < end <= {request.axis_length}", field="projection.slab")
        if request.method is ProjectionMethod.ATTENUATION and request.spacing_mm is None:
            raise InvalidField("ATTENUATION needs spacing in mm", field="projection.geometry")
        return request

    async def receive(self, messages: AsyncIterator[pb.ProjectVolumeRequest]) -> NDArray[Any]:
        """Returns the voxels (depth, height, width) that the rest of the stream carries.

        Raises:
            InvalidField: A message carries no voxels.
            InvalidTensor: Too few or too many bytes, or values that are not finite.
        """
        # Zeroed memory is only taken from the system page by page, as voxels arrive.
        buffer, position = np.zeros(self.nbytes, np.uint8), 0
        async for message in messages:
            if message.WhichOneof("content") != "voxels":
                raise InvalidField("only the first message describes the volume", field="projection")
            chunk = np.frombuffer(message.voxels, np.uint8)
            if position + len(chunk) > self.nbytes:
                raise InvalidTensor(f"more than the {self.nbytes} bytes that the shape takes", field="voxels")
            buffer[position : position + len(chunk)] = chunk
            position += len(chunk)
        if position != self.nbytes:
            raise InvalidTensor(f"{position} bytes instead of the {self.nbytes} that the shape takes", field="voxels")
        voxels = buffer.view(self.data_type).reshape(self.shape)
        if self.data_type.kind == "f" and not np.isfinite(voxels).all():
            raise InvalidTensor("hold NaN or infinity; replace them by padding_value", field="voxels")
        return voxels

    def projected_geometry(self) -> ImageGeometry:
        """Returns the plane through the middle of the projected range, as thick as the range; or pixels only."""
        frame = self.geometry.frame
        if not isinstance(frame, PatientFrame):
            return ImageGeometry()
        begin, end = self.slab or (0, self.axis_length)
        along = _ALONG[self.axis]
        index = np.zeros(3)
        index[along] = (begin + end - 1) / 2
        direction = np.asarray(frame.direction)
        x, y = (direction[:, axis] for axis in _REMAINING[self.axis])
        rows = np.stack([x, y, np.cross(x, y)], axis=1).tolist()
        first, second = _REMAINING[self.axis]
        origin = pixel_to_patient(frame, index)[0]
        return ImageGeometry(
            PatientFrame(
                (float(origin[0]), float(origin[1]), float(origin[2])),
                (tuple(rows[0]), tuple(rows[1]), tuple(rows[2])),
                (frame.spacing_mm[first], frame.spacing_mm[second], frame.spacing_mm[along] * (end - begin)),
                frame.frame_of_reference_uid,
            )
        )


def _volume_geometry(message: pb.VolumeProjection) -> ImageGeometry:
    geometry = geometry_from_message(message.geometry, "projection.geometry")
    if isinstance(geometry.frame, PatientFrame) and geometry.frame.spacing_mm[2] <= 0:
        raise InvalidField("needs three spacings above 0", field="projection.geometry.patient_lps.spacing_mm")
    if geometry.plane_spacing_mm is not None and not isinstance(geometry.frame, PatientFrame):
        raise FrameNotSupported("a volume lies in PATIENT_LPS, or in pixels", field="projection.geometry")
    return geometry
