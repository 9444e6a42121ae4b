"""Where an image's pixels lie: frames, spacing, and the maps between pixels and millimetres.

A point is (x, y) in pixels, pixel centres at integers (ITK index space). Vectors are (x, y, z), arrays
(height, width) or (depth, height, width). Patient coordinates are DICOM's LPS, in mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Vector3: TypeAlias = tuple[float, float, float]
Matrix3: TypeAlias = tuple[Vector3, Vector3, Vector3]

IDENTITY: Matrix3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_ORTHONORMAL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PatientFrame:
    """A plane or volume in patient coordinates.

    Attributes:
        origin_mm: Centre of the first pixel or voxel, LPS.
        direction: 3 x 3 direction cosines; column 0 is the direction of increasing x index, column 1 of y, column 2 of
            the slice index (of a single plane: its normal).
        spacing_mm: Distance of centres along x, y and slice index; the third is 0 for a plane of unknown thickness.
        frame_of_reference_uid: DICOM (0020,0052), empty when unknown.
    """

    origin_mm: Vector3
    direction: Matrix3
    spacing_mm: Vector3
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        axes = np.asarray(self.direction, dtype=np.float64)
        numbers = np.concatenate([np.ravel(self.origin_mm), axes.ravel(), np.ravel(self.spacing_mm)])
        if axes.shape != (3, 3) or numbers.shape != (15,) or not np.isfinite(numbers).all():
            raise ValueError("origin and spacing need three finite numbers each, direction nine")
        if np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHONORMAL_TOLERANCE:
            raise ValueError("direction must hold three orthogonal unit vectors")
        if self.spacing_mm[0] <= 0 or self.spacing_mm[1] <= 0 or self.spacing_mm[2] < 0:
            raise ValueError("spacing must be above 0 in the plane and not negative between slices")


@dataclass(frozen=True)
class DetectorFrame:
    """A projection radiograph's detector.

    Attributes:
        imager_pixel_spacing_mm: (x, y) at the detector, DICOM (0018,1164).
        magnification: DICOM (0018,1114); None when unknown, and then lengths in the patient are not known either.
    """

    imager_pixel_spacing_mm: tuple[float, float]
    magnification: float | None = None

    def __post_init__(self) -> None:
        _require_positive("imager_pixel_spacing_mm", *self.imager_pixel_spacing_mm)
        if self.magnification is not None:
            _require_positive("magnification", self.magnification)


@dataclass(frozen=True)
class PlaneFrame:
    """A calibrated plane without a place in the patient, such as an ultrasound region; spacing (x, y) in mm."""

    spacing_mm: tuple[float, float]

    def __post_init__(self) -> None:
        _require_positive("spacing_mm", *self.spacing_mm)


@dataclass(frozen=True)
class PixelFrame:
    """No calibration: lengths exist in pixels only."""


Frame: TypeAlias = PatientFrame | DetectorFrame | PlaneFrame | PixelFrame


@dataclass(frozen=True)
class ImageGeometry:
    """The geometry of one image or volume; the default knows pixels only."""

    frame: Frame = PixelFrame()

    @property
    def plane_spacing_mm(self) -> tuple[float, float] | None:
        """(x, y) spacing in which lengths in the patient may be given, or None.

        A detector's spacing counts only with a known magnification, by which it is divided.
        """
        frame = self.frame
        if isinstance(frame, PatientFrame):
            return frame.spacing_mm[0], frame.spacing_mm[1]
        if isinstance(frame, DetectorFrame):
            if frame.magnification is None:
                return None
            x, y = frame.imager_pixel_spacing_mm
            return x / frame.magnification, y / frame.magnification
        return frame.spacing_mm if isinstance(frame, PlaneFrame) else None

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel divided by its width; 1 where nothing is known."""
        if isinstance(self.frame, PixelFrame):
            return 1.0
        if isinstance(self.frame, DetectorFrame):
            x, y = self.frame.imager_pixel_spacing_mm
        else:
            x, y = self.frame.spacing_mm[0], self.frame.spacing_mm[1]
        return y / x

    def cropped(self, offset_x_px: int, offset_y_px: int) -> ImageGeometry:
        """Returns the geometry of a crop that starts at this pixel."""
        if not isinstance(self.frame, PatientFrame):
            return self
        origin = pixel_to_patient(self.frame, [[offset_x_px, offset_y_px]])[0]
        return ImageGeometry(replace(self.frame, origin_mm=_vector(origin)))


def pixel_to_patient(frame: PatientFrame, points: ArrayLike) -> Float:
    """Returns patient coordinates (n, 3) in mm of pixels (n, 2) of the plane or voxels (n, 3)."""
    index = np.atleast_2d(np.asarray(points, dtype=np.float64))
    if index.shape[1] == 2:
        index = np.pad(index, ((0, 0), (0, 1)))
    scaled: Float = index * np.asarray(frame.spacing_mm)
    moved: Float = scaled @ np.asarray(frame.direction).T + np.asarray(frame.origin_mm)
    return moved


def patient_to_pixel(frame: PatientFrame, points_mm: ArrayLike) -> tuple[Float, Float]:
    """Returns pixels (n, 2) of patient points (n, 3), and the points' signed distances from the plane in mm (n,)."""
    local = (np.atleast_2d(np.asarray(points_mm, dtype=np.float64)) - frame.origin_mm) @ np.asarray(frame.direction)
    pixels: Float = local[:, :2] / np.asarray(frame.spacing_mm[:2])
    distance: Float = local[:, 2]
    return pixels, distance


def _vector(values: ArrayLike) -> Vector3:
    x, y, z = (float(value) for value in np.ravel(values))
    return x, y, z


def _require_positive(name: str, *values: float) -> None:
    if not all(np.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"{name} must be finite and above 0")
