"""A transform between two images: points of fixed space to moving space, in ITK's direction.

Pixels are (x, y), of volumes (x, y, slice), centres at integers. In-plane millimetres are measured from the centre of
the first pixel. Patient coordinates are LPS and exist only where both images lie in the patient.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import FrameNotSupported, InvalidField, TransformFlagged
from hilum.geometry import Float, ImageGeometry, PatientFrame, PixelFrame, patient_to_pixel, pixel_to_patient
from hilum.image_grid import ImageGrid
from hilum.transform_identity import transform_identity
from hilum.warp import Warp

Size: TypeAlias = tuple[int, int]
Matrix: TypeAlias = tuple[tuple[float, ...], ...]
# Pixels of pixels: beyond it no image lies, and products of coordinates overflow.
_LARGEST_ELEMENT = 1e9


@dataclass(frozen=True)
class Transform:
    """An affine transform, after a displacement field where it is deformable, with both geometries and quality flags.

    A fixed pixel p goes to pixel_matrix (p + u(p)), where u is the displacement field: displacements are in fixed
    pixels and come before the matrix. A method that finds the moving pixels of all fixed pixels makes a map of them
    with `Warp.through`, and a transform of that with `from_warp`.

    Attributes:
        pixel_matrix: Homogeneous, fixed pixels to moving pixels: 3 x 3 on (x, y, 1), or between volumes 4 x 4 on
            (x, y, slice, 1).
        fixed_size: (height, width) of the fixed image.
        moving_size: (height, width) of the moving image.
        fixed_geometry: Where the fixed image's pixels lie.
        moving_geometry: Where the moving image's pixels lie.
        flags: Names of quality flags, such as "VIEWS_DIFFER", sorted.
        algorithm: Version of the algorithm that made it.
        displacement_field: In fixed pixels; None where the transform is affine.
        fixed_slices: Number of slices of the fixed volume; 0 between images.
        moving_slices: Number of slices of the moving volume; 0 between images.
    """

    pixel_matrix: Matrix
    fixed_size: Size
    moving_size: Size
    fixed_geometry: ImageGeometry = field(default_factory=ImageGeometry)
    moving_geometry: ImageGeometry = field(default_factory=ImageGeometry)
    flags: tuple[str, ...] = ()
    algorithm: str = ""
    displacement_field: DisplacementField | None = None
    fixed_slices: int = 0
    moving_slices: int = 0

    def __post_init__(self) -> None:
        matrix = np.asarray(self.pixel_matrix, dtype=np.float64)
        side = 4 if self.fixed_slices or self.moving_slices else 3
        if matrix.shape != (side, side) or not (np.abs(matrix) <= _LARGEST_ELEMENT).all():
            raise ValueError(f"pixel_matrix must hold {side} x {side} numbers within +-{_LARGEST_ELEMENT:g}")
        last = np.eye(side)[-1]
        if not np.allclose(matrix[-1], last):
            raise ValueError(f"pixel_matrix must be affine: its last row is {', '.join(f'{x:g}' for x in last)}")
        if abs(np.linalg.det(matrix[:-1, :-1])) < 1e-9:
            raise ValueError("pixel_matrix must be invertible")
        if side == 4:
            self._require_volumes()
        if self.displacement_field is not None and len(self.displacement_field.shape) != side - 1:
            raise ValueError(f"displacement_field must have {side - 1} components")

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        fixed_size: tuple[int, ...],
        moving_size: tuple[int, ...],
        *,
        fixed_geometry: ImageGeometry | None = None,
        moving_geometry: ImageGeometry | None = None,
        flags: tuple[str, ...] = (),
        algorithm: str = "",
        displacement_field: DisplacementField | None = None,
    ) -> Transform:
        """Returns the transform of an array, 3 x 3 between images (height, width), 4 x 4 between volumes with depth."""
        return cls(
            _tuples(matrix),
            (fixed_size[-2], fixed_size[-1]),
            (moving_size[-2], moving_size[-1]),
            fixed_geometry or ImageGeometry(),
            moving_geometry or ImageGeometry(),
            tuple(sorted(flags)),
            algorithm,
            displacement_field,
            fixed_size[0] if len(fixed_size) == 3 else 0,
            moving_size[0] if len(moving_size) == 3 else 0,
        )

    @classmethod
    def from_warp(
        cls, warp: Warp, fixed: ImageGrid, moving: ImageGrid, *, flags: tuple[str, ...] = (), algorithm: str = ""
    ) -> Transform:
        """Returns the transform that does to pixels what a map says."""
        return cls.from_matrix(
            warp.matrix,
            fixed.size,
            moving.size,
            fixed_geometry=fixed.geometry,
            moving_geometry=moving.geometry,
            flags=flags,
            algorithm=algorithm,
            displacement_field=warp.field,
        )

    @cached_property
    def transform_id(self) -> bytes:
        """SHA-256 of the content, 32 bytes; `hilum.transform_identity` says of which."""
        return transform_identity(self.warp, self.fixed_grid, self.moving_grid, self.flags, self.algorithm)

    @property
    def fixed_grid(self) -> ImageGrid:
        """Size and geometry of the fixed image or volume."""
        return _grid(self.fixed_slices, self.fixed_size, self.fixed_geometry)

    @property
    def moving_grid(self) -> ImageGrid:
        """Size and geometry of the moving image or volume."""
        return _grid(self.moving_slices, self.moving_size, self.moving_geometry)

    @property
    def warp(self) -> Warp:
        """What it does to pixels."""
        return Warp(np.asarray(self.pixel_matrix, dtype=np.float64), self.displacement_field)

    @property
    def planar_warp(self) -> Warp:
        """What it does to the pixels (x, y) of two images.

        Raises:
            InvalidField: The transform is between volumes.
        """
        if self.fixed_slices:
            raise InvalidField("is between volumes, and one between images is needed here", field="transform")
        return self.warp

    @property
    def matrix(self) -> Float:
        """`pixel_matrix` as an array (3, 3), for work on two images that an affine transform is enough for.

        Raises:
            InvalidField: The transform is deformable or between volumes: this matrix would take pixels elsewhere.
        """
        if self.displacement_field is not None:
            raise InvalidField("is deformable, and an affine transform is needed here", field="transform")
        return self.planar_warp.matrix

    @property
    def plane_mm_matrix(self) -> Float:
        """The affine transform in in-plane mm, 3 x 3: fixed mm to moving mm.

        Raises:
            FrameNotSupported: One of the images has no spacing in which lengths in the patient may be given.
            InvalidField: The transform is deformable.
        """
        return self.moving_grid.plane_mm @ self.matrix @ np.linalg.inv(self.fixed_grid.plane_mm)

    def require_accepted(self, accepted: Collection[str]) -> None:
        """Does nothing where every flag is accepted by name.

        Raises:
            TransformFlagged: A flag is not.
        """
        refused = [flag for flag in self.flags if flag not in accepted]
        if refused:
            raise TransformFlagged(f"the transform is flagged {', '.join(refused)}", field="accepted_flags")

    def apply(self, points: ArrayLike, *, inverse: bool = False) -> Float:
        """Returns moving pixels (n, 2), of volumes (n, 3), of fixed pixels, or with `inverse` the other way.

        Raises:
            InvalidField: Points have another number of coordinates, or cannot be taken back as the field folds there.
        """
        return self.warp.apply(points, inverse=inverse)

    def apply_plane_mm(self, points: ArrayLike, *, inverse: bool = False) -> Float:
        """Returns in-plane mm (n, 2) of the moving image for in-plane mm of the fixed one.

        Raises:
            FrameNotSupported: One of the images has no spacing in which lengths in the patient may be given.
            InvalidField: As `apply`.
        """
        return self.warp.between(self.fixed_grid.plane_mm, self.moving_grid.plane_mm).apply(points, inverse=inverse)

    def apply_patient(self, points_mm: ArrayLike, *, inverse: bool = False) -> Float:
        """Returns LPS points (n, 3) in the moving image for LPS points in the fixed one; of images, in their planes.

        Raises:
            FrameNotSupported: One of the images does not lie in the patient, or a point lies off an image's plane by
                more than half a slice (1 mm where the thickness is unknown): a planar transform says nothing about it.
            InvalidField: As `apply`.
        """
        fixed, moving = self.fixed_grid, self.moving_grid
        if self.fixed_slices:
            return self.warp.between(fixed.patient_mm, moving.patient_mm).apply(points_mm, inverse=inverse)
        source, target = (moving, fixed) if inverse else (fixed, moving)
        if source.patient_frame is None or target.patient_frame is None:
            raise FrameNotSupported("both images must be PATIENT_LPS; use pixels, or mm in the plane", field="unit")
        pixels, distance = patient_to_pixel(source.patient_frame, points_mm)
        if (np.abs(distance) > source.reach_mm + 1e-6).any():
            raise FrameNotSupported(
                f"a point lies more than {source.reach_mm:g} mm off the image plane, and a planar transform does not "
                "move points in depth",
                field="points",
            )
        return pixel_to_patient(target.patient_frame, self.apply(pixels, inverse=inverse))

    def inverse(self) -> Transform:
        """Returns the transform from the moving image to the fixed one.

        Exact where this one is affine. Else its displacement field is that at the moving image's pixels, and linear
        between them; `round_trip_px` says how far that is from the truth. Beyond what the fixed image covers the field
        is continued by its outermost values.
        """
        return Transform.from_warp(
            self.warp.inverse(self.moving_grid.size),
            self.moving_grid,
            self.fixed_grid,
            flags=self.flags,
            algorithm=self.algorithm,
        )

    def round_trip_px(self, back: Transform) -> Float:
        """Returns how far every fixed pixel lies from where it comes back to through this transform and another.

        Args:
            back: From this one's moving image to its fixed one, such as its inverse.

        Returns:
            Distances in fixed pixels, of the fixed image's shape; NaN where the moving image has no pixels, as `back`
            is not made for there.
        """
        start = grid_points(self.fixed_grid.size)
        there = self.apply(start)
        distances: Float = np.linalg.norm(back.apply(there) - start, axis=1)
        last = np.array(self.moving_grid.size[::-1]) - 1
        distances[((there < 0) | (there > last)).any(axis=1)] = np.nan
        return distances.reshape(self.fixed_grid.size)

    def then(self, following: Transform) -> Transform:
        """Returns this transform followed by one whose fixed image is this one's moving image.

        Where both have a displacement field the result is exact at the fixed image's pixels, and linear between them.

        Raises:
            ValueError: The sizes of the image in between disagree.
        """
        if self.moving_grid.size != following.fixed_grid.size:
            raise ValueError(
                f"moving image {self.moving_grid.size} is not the next transform's fixed {following.fixed_grid.size}"
            )
        return Transform.from_warp(
            self.warp.then(following.warp, self.fixed_grid.size),
            self.fixed_grid,
            following.moving_grid,
            flags=tuple({*self.flags, *following.flags}),
            algorithm=" then ".join(filter(None, dict.fromkeys([self.algorithm, following.algorithm]))),
        )

    def _require_volumes(self) -> None:
        if not (self.fixed_slices > 0 and self.moving_slices > 0):
            raise ValueError("a volume is registered to a volume: fixed_slices and moving_slices must be above 0")
        for geometry in (self.fixed_geometry, self.moving_geometry):
            frame = geometry.frame
            spaced = isinstance(frame, PatientFrame) and frame.spacing_mm[2] > 0
            if not spaced and frame != PixelFrame():
                raise ValueError("a volume's frame must be pixels, or PATIENT_LPS with a spacing between slices")


def _grid(slices: int, size: Size, geometry: ImageGeometry) -> ImageGrid:
    return ImageGrid((slices, *size) if slices else size, geometry)


def _tuples(values: ArrayLike) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in np.asarray(values, dtype=np.float64))
