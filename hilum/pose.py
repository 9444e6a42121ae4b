"""A volume seen in radiographs: where rays come from, and what is known of the pose in which it was seen.

All lengths are in mm. Radiographs lie in a room, whose axes are named like the patient's, LPS, as if the patient lay in
the initial pose; a pose takes points of the volume's own patient coordinates to the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidField
from hilum.geometry import Float, PatientFrame, Vector3, pixel_to_patient

MOST_VIEWS = 2
"""Radiographs of one estimation."""
FARTHEST_MM = 1e5
"""From the origin of the room or the patient: beyond it, numbers are no places."""

_LEAST_SIDE_PX = 16
_WIDEST_PIXEL_MM = 100.0
# Cosine of the angle between rays and the detector's normal below which they graze it.
_GRAZING = 0.1
_RIGID_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ConeBeam:
    """Rays that leave one point.

    Attributes:
        source_mm: the focal spot, LPS.
    """

    source_mm: Vector3


@dataclass(frozen=True)
class ParallelBeam:
    """Rays that run alongside each other, as from a source very far away.

    Attributes:
        direction: in which they run, LPS; any length above 0.
    """

    direction: Vector3


Beam: TypeAlias = ConeBeam | ParallelBeam


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A planar X-ray image.

    Attributes:
        pixels: (height, width), any real dtype; the larger, the more was absorbed: bone is bright.
        detector: origin_mm is the centre of the first pixel, columns 0 and 1 of direction are those of increasing x and
            y; the third spacing does not count.
        beam: where rays come from.
        padding_value: of pixels that were not exposed, such as a shutter's; None where all were.
    """

    pixels: NDArray[np.generic]
    detector: PatientFrame
    beam: Beam
    padding_value: float | None = None

    def check(self, field: str) -> None:
        """Refuse what cannot be used.

        Raises:
            InvalidField: the image is too small, or rays do not meet the detector.
        """
        if self.pixels.ndim != 2 or min(self.pixels.shape) < _LEAST_SIDE_PX:
            raise InvalidField(
                f"needs (height, width) of at least {_LEAST_SIDE_PX} px, has {self.pixels.shape}",
                field=f"{field}.pixels",
            )
        places = [self.detector.origin_mm, self.beam.source_mm if isinstance(self.beam, ConeBeam) else (0.0, 0.0, 0.0)]
        if not np.abs(places).max() <= FARTHEST_MM or max(self.detector.spacing_mm) > _WIDEST_PIXEL_MM:
            raise InvalidField(
                f"must lie within {FARTHEST_MM:g} mm of the origin, with pixels of at most {_WIDEST_PIXEL_MM:g} mm",
                field=f"{field}.detector",
            )
        along = self.viewing_direction()
        if not np.isfinite(along).all() or abs(float(along @ np.asarray(self.detector.direction)[:, 2])) < _GRAZING:
            raise InvalidField(
                "rays must meet the detector's plane, from a point outside of it or along its normal",
                field=f"{field}.beam",
            )

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where the picture was exposed; bool (height, width)."""
        if self.padding_value is None:
            return np.ones(self.pixels.shape, np.bool_)
        return np.asarray(self.pixels != self.padding_value)

    def viewing_direction(self) -> Float:
        """The unit vector, LPS, in which the central ray runs; NaN where the geometry has none."""
        along = np.asarray(
            self.beam.direction if isinstance(self.beam, ParallelBeam) else self._centre() - self.beam.source_mm,
            dtype=np.float64,
        )
        length = float(np.linalg.norm(along))
        direction: Float = along / length if length > 0 else np.full(3, np.nan)
        return direction

    def _centre(self) -> Float:
        height, width = self.pixels.shape
        centre: Float = pixel_to_patient(self.detector, [[(width - 1) / 2, (height - 1) / 2]])[0]
        return centre


def check_pose(matrix: Float, field: str) -> None:
    """Refuse a matrix that is no pose.

    Raises:
        InvalidField: it is not 4 x 4, finite and rigid.
    """
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise InvalidField("needs 4 x 4 finite numbers, the last row 0, 0, 0, 1", field=field)
    if np.abs(matrix[:3, 3]).max() > FARTHEST_MM:
        raise InvalidField(f"must shift by at most {FARTHEST_MM:g} mm", field=field)
    turn = matrix[:3, :3]
    if not np.allclose(turn.T @ turn, np.eye(3), atol=_RIGID_TOLERANCE) or np.linalg.det(turn) < 0:
        raise InvalidField("must be rigid: a rotation and a translation", field=field)


@dataclass(frozen=True)
class ViewAgreement:
    """How well one radiograph agrees with the projection of the volume in the pose found.

    Attributes:
        similarity: mean local correlation, at most 1.
        coverage: share of the exposed picture along whose rays the body lies inside the volume.
    """

    similarity: float
    coverage: float


@dataclass(frozen=True)
class UnseenMotion:
    """A motion that the radiographs do not show; the pose keeps its initial value along it.

    Attributes:
        rotation_deg: the turn, a rotation vector about the middle of the body, axes of the room.
        translation_mm: the shift that goes with it, axes of the room. Both together move the body by about 1 mm.
        standard_error_mm: of the pose along it, in such steps; None where the pictures do not change at all. Errors
            that the whole picture shares, such as scatter and hardening of the beam, come on top.
    """

    rotation_deg: Vector3
    translation_mm: Vector3
    standard_error_mm: float | None


@dataclass(frozen=True, eq=False)
class EstimatedPose:
    """A pose and how far it can be trusted.

    Attributes:
        patient_to_room: float64 (4, 4), rigid: mm of the volume's LPS to mm of the room.
        views: one agreement per radiograph.
        unseen: motions that the radiographs do not show.
        flags: sorted names of hilum.v1.PoseFlag, without their prefix.
        algorithm: version of the algorithm.
        total_ms: time in the service.
    """

    patient_to_room: Float
    views: tuple[ViewAgreement, ...]
    unseen: tuple[UnseenMotion, ...]
    flags: tuple[str, ...]
    algorithm: str
    total_ms: float = 0.0
