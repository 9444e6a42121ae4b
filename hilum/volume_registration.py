"""What a registration of two volumes is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.errors import InvalidField
from hilum.geometry import PatientFrame
from hilum.registration_options import LEAST_DETERMINANT, TransformModel, check_stiffness
from hilum.transform import Transform
from hilum.types import DeformationReport, StageReport

_LEAST_SIDE = 4
_LARGEST_ASPECT = 40.0
_LARGEST_EXTENT_RATIO = 20.0


@dataclass(frozen=True)
class PlacedVolume:
    """The size of a volume and where it lies.

    Attributes:
        size: (depth, height, width) in voxels.
        frame: Where the voxels lie.
    """

    size: tuple[int, int, int]
    frame: PatientFrame

    @property
    def longest_mm(self) -> float:
        """The longest of its sides."""
        return max(count * spacing for count, spacing in zip(self.size[::-1], self.frame.spacing_mm, strict=True))

    def check(self, field: str) -> None:
        """Refuses what cannot be registered.

        Raises:
            InvalidField: The volume is thinner than 4 voxels, or its voxels are flat or like needles.
        """
        if min(self.size) < _LEAST_SIDE:
            raise InvalidField(f"needs at least {_LEAST_SIDE} voxels along each axis", field=f"{field}.shape")
        spacing = self.frame.spacing_mm
        if min(spacing) <= 0 or max(spacing) > _LARGEST_ASPECT * min(spacing):
            raise InvalidField(
                f"the spacing {spacing} makes voxels more than {_LARGEST_ASPECT:g} times as long as wide",
                field=f"{field}.geometry",
            )


def check_volumes(fixed: PlacedVolume, moving: PlacedVolume, field: str) -> None:
    """Refuses two volumes that cannot be registered; `field` is what holds the two in the request.

    Raises:
        InvalidField: One of them is impossible, or more than 20 times as long as the other.
    """
    fixed.check(f"{field}.fixed")
    moving.check(f"{field}.moving")
    lengths = fixed.longest_mm, moving.longest_mm
    if max(lengths) > _LARGEST_EXTENT_RATIO * min(lengths):
        raise InvalidField(
            f"the fixed volume is {lengths[0]:.3g} mm long and the moving volume {lengths[1]:.3g} mm, more than "
            f"{_LARGEST_EXTENT_RATIO:g} times apart: check the spacings",
            field=f"{field}.moving.geometry",
        )


@dataclass(frozen=True, eq=False)
class VolumeRegistrationOptions:
    """Options of one registration of volumes.

    Attributes:
        model: The transformations that are considered.
        initial: Where to begin instead of searching: affine, between volumes of these sizes.
        stiffness: How strongly bending is held back, against the default; from 0.01 to 100. DEFORMABLE only.
    """

    model: TransformModel = TransformModel.AFFINE
    initial: Transform | None = None
    stiffness: float = 1.0

    def check(self, fixed_size: tuple[int, ...], moving_size: tuple[int, ...], *, field: str = "") -> None:
        """Refuses what cannot be followed between volumes of these (depth, height, width).

        Args:
            fixed_size: Of the fixed volume.
            moving_size: Of the moving volume.
            field: What the fields' paths begin with.

        Raises:
            InvalidField: The initial transform is deformable, singular or of other sizes, or the stiffness
                is out of range or the model has no use for it.
        """
        check_stiffness(self.stiffness, self.model, field=f"{field}stiffness")
        if self.initial is None:
            return
        field = f"{field}initial_transform"
        if self.initial.displacement_field is not None:
            raise InvalidField("is deformable; begin with an affine one", field=field)
        if (self.initial.fixed_grid.size, self.initial.moving_grid.size) != (fixed_size, moving_size):
            raise InvalidField(
                f"is between {self.initial.fixed_grid.size} and {self.initial.moving_grid.size}, these volumes have "
                f"{fixed_size} and {moving_size}",
                field=field,
            )
        determinant = float(np.linalg.det(self.initial.warp.matrix[:3, :3]))
        if abs(determinant) < LEAST_DETERMINANT:
            raise InvalidField(f"is singular (determinant {determinant:.3g}): it flattens the volume", field=field)


@dataclass(frozen=True)
class VolumeRegistrationResult:
    """A transform between two volumes and how far it can be trusted.

    Attributes:
        transform: Points of the fixed volume to points of the moving volume.
        inverse: Points of the moving volume to points of the fixed volume.
        stages: What each stage did.
        similarity_before: Agreement of structure at the start, in [0, 1].
        similarity_after: At the end.
        overlap_fraction: Share of the fixed volume's body that the moving volume covers.
        distinctness: By how much the similarity falls when a volume slips by a fortieth of its longest side.
        inverse_residual_mm: Largest distance by which a moving point that comes from within the fixed volume is missed,
            there and back; 0 where affine.
        deformation: How it bends; None where affine.
        total_ms: Time in the service.
    """

    transform: Transform
    inverse: Transform
    stages: tuple[StageReport, ...]
    similarity_before: float
    similarity_after: float
    overlap_fraction: float
    distinctness: float
    inverse_residual_mm: float = 0.0
    deformation: DeformationReport | None = None
    total_ms: float = 0.0
