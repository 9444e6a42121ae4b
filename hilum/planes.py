"""Anatomical planes: how a volume is turned so that its pictures are hung as radiologists hang them.

Axial and coronal pictures show the patient's right on the image's left; axial ones have anterior up, coronal and
sagittal ones the head up; sagittal ones have anterior on the left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import Float, ImageGeometry, PatientFrame, Vector3
from hilum.types import Image, Pixels, Volume

PlaneName: TypeAlias = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[PlaneName, ...] = get_args(PlaneName)

# Per plane: LPS axis and sign of increasing x, of increasing y, and the axis along which slices are counted.
_HANGING: dict[PlaneName, tuple[tuple[int, int], tuple[int, int], int]] = {
    "axial": ((0, 1), (1, 1), 2),
    "coronal": ((0, 1), (2, -1), 1),
    "sagittal": ((1, 1), (2, -1), 0),
}

_PERPENDICULAR = 1e-3  # what PatientFrame allows


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxels, as columns of an affine map from voxel indices to LPS in mm.

    Attributes:
        origin_mm: Centre of the voxel (0, 0, 0).
        steps_mm: (3, 3); column k is the step of index k.
        shape: Voxels along each index.
    """

    origin_mm: Float
    steps_mm: Float
    shape: tuple[int, int, int]

    def axes(self) -> tuple[int, int, int]:
        """Index nearest to each patient axis (left, posterior, superior); oblique grids get the best match."""
        cosines = np.abs(self.steps_mm / np.linalg.norm(self.steps_mm, axis=0))
        found = [0, 0, 0]
        for _ in range(3):
            patient, index = np.unravel_index(int(cosines.argmax()), (3, 3))
            found[patient] = int(index)
            cosines[patient, :] = cosines[:, index] = -1
        return found[0], found[1], found[2]

    @property
    def is_sheared(self) -> bool:
        """Whether steps are not perpendicular to each other."""
        cosines = self.steps_mm / np.linalg.norm(self.steps_mm, axis=0)
        return bool(np.abs(cosines.T @ cosines - np.eye(3)).max() > _PERPENDICULAR)

    def is_reversed(self, index: int, patient_axis: int) -> bool:
        """Whether an index runs against its patient axis."""
        return bool(self.steps_mm[patient_axis, index] < 0)


@dataclass(frozen=True)
class Cut:
    """One slice of a grid, hung as its plane is.

    Attributes:
        grid: What is cut.
        x_axis: Grid index that runs along the rows, and whether it is reversed.
        y_axis: Grid index that runs down the columns, and whether it is reversed.
        slice_axis: Grid index that is fixed.
        position: Its value.
    """

    grid: Grid
    x_axis: tuple[int, bool]
    y_axis: tuple[int, bool]
    slice_axis: int
    position: int

    def picture(self, values: Pixels, first: int) -> Pixels:
        """Returns (height, width) of the slice's values.

        Args:
            values: (n, m), whose axes are the two other grid indices.
            first: The grid index of its first axis.
        """
        turned = values if first == self.y_axis[0] else values.T
        turned = turned[::-1] if self.y_axis[1] else turned
        turned = turned[:, ::-1] if self.x_axis[1] else turned
        return np.ascontiguousarray(turned)

    def frame(self, frame_of_reference_uid: str = "") -> PatientFrame:
        """Returns where the picture's pixels lie.

        Raises:
            FrameNotSupported: They are no rectangles, as in a sheared grid.
        """
        corner = np.zeros(3)
        corner[self.slice_axis] = self.position
        directions, spacings = [], []
        for index, is_reversed in (self.x_axis, self.y_axis):
            corner[index] = self.grid.shape[index] - 1 if is_reversed else 0
            step = self.grid.steps_mm[:, index] * (-1 if is_reversed else 1)
            spacings.append(float(np.linalg.norm(step)))
            directions.append(step / spacings[-1])
        normal = np.cross(directions[0], directions[1])
        thickness = abs(float(normal @ self.grid.steps_mm[:, self.slice_axis]))
        origin = _vector(self.grid.origin_mm + self.grid.steps_mm @ corner)
        rows = np.column_stack([*directions, normal])
        direction = (_vector(rows[0]), _vector(rows[1]), _vector(rows[2]))
        try:
            return PatientFrame(origin, direction, (spacings[0], spacings[1], thickness), frame_of_reference_uid)
        except ValueError as error:
            raise FrameNotSupported("its axes are not perpendicular: resample it to a regular grid") from error


def slice_count(grid: Grid, plane: PlaneName) -> int:
    """Returns how many slices a grid has in a plane."""
    return grid.shape[grid.axes()[_HANGING[_known(plane)][2]]]


def cut(grid: Grid, plane: PlaneName, index: int) -> Cut:
    """Returns one slice of a grid; slices count from 0, from inferior, anterior or right.

    Raises:
        InvalidField: No such plane or slice.
    """
    (x_patient, x_sign), (y_patient, y_sign), slice_patient = _HANGING[_known(plane)]
    axes = grid.axes()
    x, y, fixed = axes[x_patient], axes[y_patient], axes[slice_patient]
    count = grid.shape[fixed]
    if not 0 <= index < count:
        raise InvalidField(f"{plane} slices are 0 to {count - 1}, not {index}", field="index")
    return Cut(
        grid,
        (x, grid.is_reversed(x, x_patient) != (x_sign < 0)),
        (y, grid.is_reversed(y, y_patient) != (y_sign < 0)),
        fixed,
        count - 1 - index if grid.is_reversed(fixed, slice_patient) else index,
    )


def plane_count(volume: Volume, plane: PlaneName) -> int:
    """Returns how many slices a volume has in a plane.

    Raises:
        InvalidField: No such plane.
        FrameNotSupported: The volume knows pixels only.
    """
    return slice_count(_volume_grid(volume)[0], plane)


def slice_volume(volume: Volume, plane: PlaneName, index: int, *, slices: int = 1) -> Image:
    """Returns a slice, or the mean of a slab, hung as its plane is.

    Args:
        volume: With a place in the patient.
        plane: "axial", "coronal" or "sagittal": the grid's nearest, not resampled.
        index: From 0, from inferior, anterior or right.
        slices: Thickness of the slab, centred on `index` and cut off at the volume's ends; its mean is float32.

    Raises:
        InvalidField: No such plane or slice.
        FrameNotSupported: The volume knows pixels only.
    """
    grid, uid = _volume_grid(volume)
    found = cut(grid, plane, index)
    frame = found.frame(uid)
    if slices < 1:
        raise InvalidField("a slab has at least one slice", field="slices")
    voxels = np.moveaxis(volume.voxels, 2 - found.slice_axis, 0)
    start = max(found.position - (slices - 1) // 2, 0)
    slab = voxels[start : found.position + slices // 2 + 1]
    values = slab[0] if slices == 1 else slab.mean(axis=0, dtype=np.float64).astype(np.float32)
    middle = start + (len(slab) - 1) / 2
    origin = frame.origin_mm + grid.steps_mm[:, found.slice_axis] * (middle - found.position)
    spacing = (*frame.spacing_mm[:2], frame.spacing_mm[2] * len(slab))
    geometry = ImageGeometry(replace(frame, origin_mm=_vector(origin), spacing_mm=spacing))
    first = max({0, 1, 2} - {found.slice_axis})
    return Image(found.picture(values, first), geometry, volume.padding_value, source=volume.source)


def _volume_grid(volume: Volume) -> tuple[Grid, str]:
    """A volume's grid, whose indices are (x, y, slice), and its frame of reference."""
    frame = volume.geometry.frame
    if not isinstance(frame, PatientFrame):
        raise FrameNotSupported("the volume's orientation is not known: take slices of its voxels instead")
    depth, height, width = volume.voxels.shape
    spacing = np.asarray(frame.spacing_mm)
    # One slice of unknown thickness has no step of its own.
    steps = np.asarray(frame.direction) * np.where(spacing > 0, spacing, 1.0)
    return Grid(np.asarray(frame.origin_mm), steps, (width, height, depth)), frame.frame_of_reference_uid


def _known(plane: PlaneName) -> PlaneName:
    if plane not in PLANES:
        raise InvalidField(f"planes are {', '.join(PLANES)}, not {plane}", field="plane")
    return plane


def _vector(values: Float) -> Vector3:
    x, y, z = (float(value) for value in values)
    return x, y, z
