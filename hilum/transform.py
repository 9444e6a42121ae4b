"""A transform between two images: points of fixed space to moving space, in ITK's direction.

Pixels are (x, y), centres at integers. In-plane millimetres are measured from the centre of the first pixel. Patient
coordinates are LPS and exist only where both images lie in the patient.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hilum.digest import content_id
from hilum.errors import FrameNotSupported
from hilum.geometry import (
    DetectorFrame,
    Float,
    Frame,
    ImageGeometry,
    Matrix3,
    PatientFrame,
    PlaneFrame,
    patient_to_pixel,
    pixel_to_patient,
)

Size: TypeAlias = tuple[int, int]
_PLANE_TOLERANCE_MM = 1.0
# Pixels of pixels: beyond it no image lies, and products of coordinates overflow.
_LARGEST_ELEMENT = 1e9


@dataclass(frozen=True)
class Transform:
    """An affine transform with both geometries and its quality flags.

    Attributes:
        pixel_matrix: 3 x 3 homogeneous, on (x, y, 1): fixed pixels to moving pixels.
        fixed_size: (height, width) of the fixed image.
        moving_size: (height, width) of the moving image.
        fixed_geometry: Where the fixed image's pixels lie.
        moving_geometry: Where the moving image's pixels lie.
        flags: Names of quality flags, such as "VIEWS_DIFFER", sorted.
        algorithm: Version of the algorithm that made it.
    """

    pixel_matrix: Matrix3
    fixed_size: Size
    moving_size: Size
    fixed_geometry: ImageGeometry = field(default_factory=ImageGeometry)
    moving_geometry: ImageGeometry = field(default_factory=ImageGeometry)
    flags: tuple[str, ...] = ()
    algorithm: str = ""

    def __post_init__(self) -> None:
        matrix = np.asarray(self.pixel_matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not (np.abs(matrix) <= _LARGEST_ELEMENT).all():
            raise ValueError(f"pixel_matrix must hold 3 x 3 numbers within +-{_LARGEST_ELEMENT:g}")
        if not np.allclose(matrix[2], (0, 0, 1)):
            raise ValueError("pixel_matrix must be affine: its last row is 0, 0, 1")
        if abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]) < 1e-9:
            raise ValueError("pixel_matrix must be invertible")

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        fixed_size: Size,
        moving_size: Size,
        *,
        fixed_geometry: ImageGeometry | None = None,
        moving_geometry: ImageGeometry | None = None,
        flags: tuple[str, ...] = (),
        algorithm: str = "",
    ) -> Transform:
        """Returns the transform of a 3 x 3 array."""
        return cls(
            _matrix3(matrix),
            fixed_size,
            moving_size,
            fixed_geometry or ImageGeometry(),
            moving_geometry or ImageGeometry(),
            tuple(sorted(flags)),
            algorithm,
        )

    @cached_property
    def transform_id(self) -> bytes:
        """SHA-256 of the content, 32 bytes.

        Fields as in `hilum.digest`: 1 matrix (nine float64, row-major), 2 sizes (four uint32: fixed height and width,
        moving height and width), 3 and 4 the frames of fixed and moving (see `frame_bytes`), 5 flags (sorted names,
        joined by commas), 6 algorithm.
        """
        return content_id(
            "transform",
            [
                (1, struct.pack("<9d", *np.ravel(self.pixel_matrix))),
                (2, struct.pack("<4I", *self.fixed_size, *self.moving_size)),
                (3, frame_bytes(self.fixed_geometry.frame)),
                (4, frame_bytes(self.moving_geometry.frame)),
                (5, ",".join(self.flags).encode()),
                (6, self.algorithm.encode()),
            ],
        )

    @property
    def matrix(self) -> Float:
        """`pixel_matrix` as an array (3, 3)."""
        return np.asarray(self.pixel_matrix, dtype=np.float64)

    @property
    def plane_mm_matrix(self) -> Float:
        """The transform in in-plane mm, 3 x 3: fixed mm to moving mm.

        Raises:
            FrameNotSupported: One of the images has no spacing in which lengths in the patient may be given.
        """
        fixed, moving = (_scaling(geometry) for geometry in (self.fixed_geometry, self.moving_geometry))
        return moving @ self.matrix @ np.linalg.inv(fixed)

    def apply(self, points: ArrayLike, *, inverse: bool = False) -> Float:
        """Returns moving pixels (n, 2) of fixed pixels (n, 2), or with `inverse` the other way."""
        return _affine(self.matrix, points, inverse=inverse)

    def apply_plane_mm(self, points: ArrayLike, *, inverse: bool = False) -> Float:
        """Returns in-plane mm (n, 2) of the moving image for in-plane mm of the fixed one; see `plane_mm_matrix`."""
        return _affine(self.plane_mm_matrix, points, inverse=inverse)

    def apply_patient(self, points_mm: ArrayLike, *, inverse: bool = False) -> Float:
        """Returns patient points (n, 3) in the moving image's plane for patient points in the fixed image's plane.

        Raises:
            FrameNotSupported: One of the images does not lie in the patient, or a point lies off the plane by more than
                half a slice (1 mm where the thickness is unknown): a planar transform says nothing about it.
        """
        source, target = self.fixed_geometry.frame, self.moving_geometry.frame
        if inverse:
            source, target = target, source
        if not isinstance(source, PatientFrame) or not isinstance(target, PatientFrame):
            raise FrameNotSupported("both images must be PATIENT_LPS; use pixels, or mm in the plane", field="unit")
        pixels, distance = patient_to_pixel(source, points_mm)
        tolerance = source.spacing_mm[2] / 2 or _PLANE_TOLERANCE_MM
        if (np.abs(distance) > tolerance + 1e-6).any():
            raise FrameNotSupported(
                f"a point lies more than {tolerance:g} mm off the image plane, and a planar transform does not move "
                "points in depth",
                field="points",
            )
        return pixel_to_patient(target, self.apply(pixels, inverse=inverse))

    def inverse(self) -> Transform:
        """Returns the transform from the moving image to the fixed one."""
        return replace(
            self,
            pixel_matrix=_matrix3(np.linalg.inv(self.matrix)),
            fixed_size=self.moving_size,
            moving_size=self.fixed_size,
            fixed_geometry=self.moving_geometry,
            moving_geometry=self.fixed_geometry,
        )

    def then(self, following: Transform) -> Transform:
        """Returns this transform followed by one whose fixed image is this one's moving image.

        Raises:
            ValueError: The sizes of the image in between disagree.
        """
        if self.moving_size != following.fixed_size:
            raise ValueError(
                f"moving image {self.moving_size} is not the next transform's fixed {following.fixed_size}"
            )
        return Transform.from_matrix(
            following.matrix @ self.matrix,
            self.fixed_size,
            following.moving_size,
            fixed_geometry=self.fixed_geometry,
            moving_geometry=following.moving_geometry,
            flags=tuple({*self.flags, *following.flags}),
            algorithm=" then ".join(filter(None, dict.fromkeys([self.algorithm, following.algorithm]))),
        )


def frame_bytes(frame: Frame) -> bytes:
    """Returns a frame as bytes: one byte kind, then float64, then the frame of reference UID.

    Kinds: 1 patient (origin, direction row-major, spacing), 2 detector (spacing, magnification or 0), 3 plane
    (spacing), 4 pixels.
    """
    match frame:
        case PatientFrame():
            numbers = [*frame.origin_mm, *np.ravel(frame.direction), *frame.spacing_mm]
            return b"\1" + struct.pack("<15d", *numbers) + frame.frame_of_reference_uid.encode()
        case DetectorFrame(spacing, magnification):
            return b"\2" + struct.pack("<3d", *spacing, magnification or 0.0)
        case PlaneFrame(spacing):
            return b"\3" + struct.pack("<2d", *spacing)
        case _:
            return b"\4"


def _affine(matrix: Float, points: ArrayLike, *, inverse: bool) -> Float:
    if inverse:
        matrix = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    given = np.atleast_2d(np.asarray(points, dtype=np.float64))
    moved: Float = given @ matrix[:2, :2].T + matrix[:2, 2]
    return moved


def _matrix3(values: ArrayLike) -> Matrix3:
    rows = [tuple(float(value) for value in row) for row in np.asarray(values, dtype=np.float64)]
    (a, b, c), (d, e, f), (g, h, i) = rows
    return (a, b, c), (d, e, f), (g, h, i)


def _scaling(geometry: ImageGeometry) -> Float:
    spacing = geometry.plane_spacing_mm
    if spacing is None:
        raise FrameNotSupported(
            "an image has no spacing in which lengths in the patient may be given; use pixels", field="unit"
        )
    return np.diag([*spacing, 1.0])
