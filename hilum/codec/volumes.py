"""A volume that arrives in pieces, and the geometry of its projections."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hilum.codec.images import geometry_from_message
from hilum.codec.tensors import IMAGE_TYPES, check_image_size
from hilum.digest import DATA_TYPE_CODES
from hilum.errors import FrameNotSupported, InvalidField, InvalidTensor, LimitExceeded
from hilum.geometry import ImageGeometry, PatientFrame, pixel_to_patient
from hilum.types import ProjectionAxis, ProjectionMethod
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2

_TYPE_NAMES = {code: name for name, code in DATA_TYPE_CODES.items() if name in IMAGE_TYPES}
# The two array axes that remain, as columns of the volume's direction: x of the picture, y of the picture.
_REMAINING = {ProjectionAxis.DEPTH: (0, 1), ProjectionAxis.HEIGHT: (0, 2), ProjectionAxis.WIDTH: (1, 2)}
_ALONG = {ProjectionAxis.DEPTH: 2, ProjectionAxis.HEIGHT: 1, ProjectionAxis.WIDTH: 0}


class DescribedVolume(Protocol):
    """The part of a request's first message that says what the voxels are."""

    @property
    def shape(self) -> Sequence[int]:
        """(depth, height, width)."""

    @property
    def data_type(self) -> int:
        """Element type."""

    @property
    def geometry(self) -> image_pb2.ImageGeometry:
        """PATIENT_LPS, or pixels."""

    @property
    def padding_value(self) -> float:
        """Value of voxels that are no image."""

    def HasField(self, field_name: Literal["padding_value"], /) -> bool:  # noqa: N802 - protobuf's name
        """Whether there is one."""


class VoxelMessage(Protocol):
    """A message of a stream that carries voxels after its first."""

    @property
    def voxels(self) -> bytes:
        """The next bytes."""

    def WhichOneof(self, oneof_group: Literal["content"], /) -> str | None:  # noqa: N802 - protobuf's name
        """What the message carries."""


@dataclass(frozen=True)
class IncomingVolume:
    """What voxels will arrive.

    Attributes:
        shape: (depth, height, width).
        data_type: Element type.
        geometry: PATIENT_LPS, or pixels only.
        padding_value: Value of voxels that are no image, or None.
    """

    shape: tuple[int, int, int]
    data_type: np.dtype[Any]
    geometry: ImageGeometry
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

    @classmethod
    def described(cls, message: DescribedVolume, field: str, *, max_bytes: int) -> IncomingVolume:
        """Returns what a message describes.

        Raises:
            InvalidField: Something is missing or out of range.
            LimitExceeded: The volume takes more than max_bytes.
        """
        if len(message.shape) != 3 or 0 in message.shape:
            raise InvalidField("needs three numbers above 0: depth, height, width", field=f"{field}.shape")
        depth, height, width = message.shape
        name = _TYPE_NAMES.get(message.data_type)
        if name is None:
            raise InvalidField(f"must be one of {', '.join(_TYPE_NAMES.values())}", field=f"{field}.data_type")
        padding = message.padding_value if message.HasField("padding_value") else None
        if padding is not None and not math.isfinite(padding):
            raise InvalidField("must be finite", field=f"{field}.padding_value")
        geometry = _volume_geometry(message.geometry, field)
        volume = IncomingVolume((depth, height, width), np.dtype(name).newbyteorder("<"), geometry, padding)
        if volume.nbytes > max_bytes:
            raise LimitExceeded(f"{volume.nbytes} bytes; at most {max_bytes}", field=f"{field}.shape")
        return volume

    async def receive(
        self, messages: AsyncIterator[VoxelMessage], described_by: str, *, followed: bool = False
    ) -> NDArray[Any]:
        """Returns the voxels (depth, height, width) that the rest of the stream carries.

        Args:
            messages: All but the first.
            described_by: The field that only the first message may have.
            followed: Another volume's voxels follow: stop where these end.

        Raises:
            InvalidField: A message carries no voxels.
            InvalidTensor: Too few or too many bytes, or values that are not finite.
        """
        # Zeroed memory is only taken from the system page by page, as voxels arrive.
        buffer, position = np.zeros(self.nbytes, np.uint8), 0
        async for message in messages:
            if message.WhichOneof("content") != "voxels":
                raise InvalidField("only the first message describes the volume", field=described_by)
            chunk = np.frombuffer(message.voxels, np.uint8)
            if position + len(chunk) > self.nbytes:
                raise InvalidTensor(f"more than the {self.nbytes} bytes that shape {self.shape} takes", field="voxels")
            buffer[position : position + len(chunk)] = chunk
            position += len(chunk)
            if followed and position == self.nbytes:
                break
        if position != self.nbytes:
            raise InvalidTensor(f"{position} bytes instead of the {self.nbytes} that the shape takes", field="voxels")
        voxels = buffer.view(self.data_type).reshape(self.shape)
        if self.data_type.kind == "f" and not np.isfinite(voxels).all():
            raise InvalidTensor("hold NaN or infinity; replace them by padding_value", field="voxels")
        return voxels


@dataclass(frozen=True)
class VolumeRequest:
    """What to project and how.

    Attributes:
        volume: What arrives.
        axis: Array axis along which rays run.
        method: How rays become pixels.
        slab: Half-open range of indices along the axis, or None.
    """

    volume: IncomingVolume
    axis: ProjectionAxis
    method: ProjectionMethod
    slab: tuple[int, int] | None

    @property
    def axis_length(self) -> int:
        """Number of voxels along the rays."""
        return self.volume.shape[2 - _ALONG[self.axis]]

    @property
    def projected_size(self) -> tuple[int, int]:
        """(height, width) of the projection."""
        height, width = (count for axis, count in enumerate(self.volume.shape) if axis != 2 - _ALONG[self.axis])
        return height, width

    @classmethod
    def from_message(cls, message: pb.VolumeProjection, *, max_bytes: int, max_image_pixels: int) -> VolumeRequest:
        """Returns the request.

        Raises:
            InvalidField: Something is missing or out of range.
            LimitExceeded: The volume takes more than max_bytes, or its projection is larger than an image may be.
        """
        volume = IncomingVolume.described(message, "projection", max_bytes=max_bytes)
        if message.axis not in (axis.value for axis in ProjectionAxis):
            raise InvalidField("must be DEPTH, HEIGHT or WIDTH", field="projection.axis")
        if message.method not in (method.value for method in ProjectionMethod):
            raise InvalidField("must be MEAN, ATTENUATION or MAXIMUM", field="projection.method")
        request = cls(
            volume,
            ProjectionAxis(message.axis),
            ProjectionMethod(message.method),
            (message.slab.begin, message.slab.end) if message.HasField("slab") else None,
        )
        check_image_size(request.projected_size, "projection.shape", max_pixels=max_image_pixels)
        if request.slab and not request.slab[0] < request.slab[1] <= request.axis_length:
            raise InvalidField(f"must satisfy begin < end <= {request.axis_length}", field="projection.slab")
        if request.method is ProjectionMethod.ATTENUATION and volume.spacing_mm is None:
            raise InvalidField("ATTENUATION needs spacing in mm", field="projection.geometry")
        return request

    def projected_geometry(self) -> ImageGeometry:
        """Returns the plane through the middle of the projected range, as thick as the range; or pixels only."""
        frame = self.volume.geometry.frame
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


def _volume_geometry(message: image_pb2.ImageGeometry, field: str) -> ImageGeometry:
    geometry = geometry_from_message(message, f"{field}.geometry")
    if isinstance(geometry.frame, PatientFrame) and geometry.frame.spacing_mm[2] <= 0:
        raise InvalidField("needs three spacings above 0", field=f"{field}.geometry.patient_lps.spacing_mm")
    if geometry.plane_spacing_mm is not None and not isinstance(geometry.frame, PatientFrame):
        raise FrameNotSupported("a volume lies in PATIENT_LPS, or in pixels", field=f"{field}.geometry")
    return geometry
