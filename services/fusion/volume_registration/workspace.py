"""Two volumes in one working space, at every resolution that a registration uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hilum.errors import NoContent
from hilum.geometry import Float
from services.fusion.stepping import Work
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.canvas import (
    Canvas,
    RegistrationVolume,
    canvas_extent_mm,
    draw,
    working_from_patient,
)

SIZES = (32, 64, 128)
"""Sides of canvases in voxels."""
_OWN_RESOLUTION = 0.8
"""Canvas voxels per voxel of a volume below which something of it would be lost."""


@dataclass(frozen=True, eq=False)
class CanvasPair:
    """Both volumes at one resolution."""

    fixed: Canvas
    moving: Canvas

    @property
    def size(self) -> int:
        """Side of the canvases in voxels."""
        return int(self.fixed.voxels.shape[0])


class Workspace:
    """The canvases of a fixed and a moving volume, halved from a finest size down to a coarsest.

    Attributes:
        extent_mm: side of the canvas.
        finest: side of the finest canvas in voxels: 128, or less where the volumes themselves are coarser.
        working_from_fixed: float64 (4, 4), from fixed voxels (x, y, slice, 1) to working space; diagonal but for the
            shift, since working space has the fixed volume's axes.
        working_from_moving: the same of the moving volume.

    Args:
        fixed: the fixed volume.
        moving: the moving volume.
    """

    def __init__(self, fixed: RegistrationVolume, moving: RegistrationVolume) -> None:
        axes = np.asarray(fixed.frame.direction)
        self._fixed, self._moving = fixed, moving
        self.extent_mm = canvas_extent_mm(fixed, moving)
        self._working_from_patient = tuple(
            working_from_patient(volume, axes, self.extent_mm) for volume in (fixed, moving)
        )
        self.working_from_fixed, self.working_from_moving = (
            matrix @ volume.patient_from_voxel
            for matrix, volume in zip(self._working_from_patient, (fixed, moving), strict=True)
        )
        own = self.extent_mm / min(*fixed.frame.spacing_mm, *moving.frame.spacing_mm)
        self.finest = next((size for size in SIZES if size >= _OWN_RESOLUTION * own), SIZES[-1])
        self._pairs: dict[int, CanvasPair] = {}

    def draw(self) -> Work[None]:
        """Draw both volumes; yields in between, since large ones take their time.

        Raises:
            NoContent: too few voxels of a volume are usable to be seen on the finest canvas.
        """
        fixed = yield from draw(self._fixed, self.working_from_fixed, self.finest)
        yield
        moving = yield from draw(self._moving, self.working_from_moving, self.finest)
        yield
        for name, canvas in (("fixed", fixed), ("moving", moving)):
            if not canvas.valid.any():
                raise NoContent("too few voxels are usable: nothing is left of them", field=f"registration.{name}")
        while True:
            self._pairs[len(fixed.voxels)] = CanvasPair(fixed, moving)
            if len(fixed.voxels) <= SIZES[0]:
                return
            fixed, moving = fixed.halved(), moving.halved()
            yield

    def at(self, size: int) -> CanvasPair:
        """The canvases of this size, or the finest where that is coarser."""
        return self._pairs[min(size, self.finest)]

    def fixed_to_moving_px(self, alignment: Alignment) -> Float:
        """The 4x4 matrix from displaced fixed voxels (x, y, slice, 1) to moving voxels."""
        matrix = np.linalg.inv(self.working_from_moving) @ alignment.matrix.numpy() @ self.working_from_fixed
        matrix[3] = (0.0, 0.0, 0.0, 1.0)
        return np.asarray(matrix, np.float64)

    def displacements_px(self, alignment: Alignment, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """float32 (3, len(z), len(y), len(x)): displacements in fixed voxels where these planes of voxels cross."""
        if alignment.deformation is None:
            return torch.zeros(3, len(z), len(y), len(x))
        scale, offset = np.diag(self.working_from_fixed)[:3].copy(), self.working_from_fixed[:3, 3]
        places = [along * scale[axis] + offset[axis] for axis, along in enumerate((x, y, z))]
        return alignment.deformation.on_grid(*places) / torch.from_numpy(scale).float()[:, None, None, None]

    def alignment_of(self, fixed_to_moving_px: Float) -> Alignment:
        """The affine alignment that a 4x4 matrix between voxels stands for."""
        matrix = self.working_from_moving @ fixed_to_moving_px @ np.linalg.inv(self.working_from_fixed)
        return Alignment(torch.from_numpy(np.asarray(matrix, np.float64)))

    def in_place(self) -> Alignment:
        """The alignment that leaves every point where it is in patient coordinates."""
        fixed, moving = self._working_from_patient
        return Alignment(torch.from_numpy(np.asarray(moving @ np.linalg.inv(fixed), np.float64)))
