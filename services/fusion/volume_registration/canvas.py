"""The cubic canvases on which two volumes of any size, spacing and direction are registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from hilum.errors import NoContent
from hilum.geometry import Float, ImageGeometry, PatientFrame, pixel_to_patient
from hilum.image_grid import ImageGrid
from hilum.types import BoolMask
from hilum.volume_registration import PlacedVolume

_SAMPLES_ACROSS = 128
"""Voxels along the longest side that the range of a volume's values is taken from."""
_FAR = 1e3
"""Scaled values end here: one absurd voxel must not make its neighbours' descriptors infinite."""


@dataclass(frozen=True, eq=False)
class RegistrationVolume:
    """One of the two volumes of a registration.

    Attributes:
        voxels: (depth, height, width), any real dtype; NaN and infinities count as padding.
        frame: where the voxels lie in the patient; three spacings above 0.
        padding_value: value of voxels that are no image; None where every voxel counts.
    """

    voxels: NDArray[Any]
    frame: PatientFrame
    padding_value: float | None = None

    @property
    def usable(self) -> BoolMask:
        """Voxels that are finite and no padding."""
        finite = np.isfinite(self.voxels)
        return np.asarray(finite if self.padding_value is None else finite & (self.voxels != self.padding_value))

    @property
    def size(self) -> tuple[int, int, int]:
        """(depth, height, width)."""
        depth, height, width = self.voxels.shape
        return depth, height, width

    @property
    def place(self) -> PlacedVolume:
        """Size and frame."""
        return PlacedVolume(self.size, self.frame)

    @property
    def patient_from_voxel(self) -> Float:
        """(4, 4): voxel indices (x, y, slice) to LPS in mm."""
        return ImageGrid(self.size, ImageGeometry(self.frame)).patient_mm

    @property
    def centre_mm(self) -> Float:
        """(3,): the middle of the volume, LPS."""
        middle: Float = pixel_to_patient(self.frame, [[(count - 1) / 2 for count in self.size[::-1]]])[0]
        return middle

    def extent_mm(self, axes: Float) -> float:
        """The longest side of the box along these axes, columns of (3, 3), that holds the volume."""
        sides = np.asarray(self.size[::-1]) * self.frame.spacing_mm
        return float((np.abs(axes.T @ np.asarray(self.frame.direction)) @ sides).max())

    def check(self, field: str) -> None:
        """Refuse what shows nothing.

        Args:
            field: the path of this volume in the request.

        Raises:
            NoContent: the voxels are constant or all padding.
        """
        values = self.voxels[self.usable]
        if values.size == 0 or values.min() == values.max():
            raise NoContent("all usable voxels have one value: nothing can be aligned", field=field)


@dataclass(frozen=True, eq=False)
class Canvas:
    """A volume on a cubic canvas in working space (see alignment.py).

    Attributes:
        voxels: float32 (n, n, n); the 1st and 99th percentile of the usable voxels lie at 0 and 1.
        valid: float32 (n, n, n), 1 on usable voxels, 0 elsewhere.
    """

    voxels: Tensor
    valid: Tensor

    def halved(self) -> Canvas:
        """The same canvas at half the resolution; voxels are means of the usable ones they cover."""
        weight, weighted, plain = F.avg_pool3d(torch.stack([self.valid, self.voxels * self.valid, self.voxels]), 2)
        voxels = torch.where(weight > 0, weighted / weight.clamp(min=1e-6), plain)
        return Canvas(voxels, (weight > 0.5).float())


def canvas_extent_mm(fixed: RegistrationVolume, moving: RegistrationVolume) -> float:
    """The side of the cube that holds either volume, along the fixed volume's axes."""
    axes = np.asarray(fixed.frame.direction)
    return max(fixed.extent_mm(axes), moving.extent_mm(axes))


def working_from_patient(volume: RegistrationVolume, axes: Float, extent_mm: float) -> Float:
    """(4, 4): LPS in mm to working space, whose origin is the volume's centre.

    Args:
        volume: one of the two.
        axes: (3, 3), columns are the directions of working space in LPS.
        extent_mm: side of the canvas.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = axes.T * (2.0 / extent_mm)
    matrix[:3, 3] = -matrix[:3, :3] @ volume.centre_mm
    return matrix


def draw(volume: RegistrationVolume, working_from_voxel: Float, size: int) -> Canvas:
    """Draw a volume onto a canvas of `size` voxels, low-pass filtered where that loses resolution."""
    usable = volume.usable
    low, high = _value_range(volume.voxels, usable)
    scaled = (np.where(usable, volume.voxels, low).astype(np.float32) - np.float32(low)) / np.float32(high - low)
    scaled = np.clip(scaled, -_FAR, _FAR)
    # Means over usable voxels only, or the value of padding would bleed into the body.
    channels = [_low_pass(scaled * usable, working_from_voxel, size)]
    channels.append(np.ones_like(scaled) if usable.all() else _low_pass(usable, working_from_voxel, size))
    grid, inside = _voxel_places(volume, working_from_voxel, size)
    weighted, weight = F.grid_sample(
        torch.from_numpy(np.stack(channels))[None], grid[None], padding_mode="border", align_corners=False
    )[0]
    return Canvas(weighted / weight.clamp(min=1e-3), (inside & (weight > 0.5)).float())


def _voxel_places(volume: RegistrationVolume, working_from_voxel: Float, size: int) -> tuple[Tensor, Tensor]:
    """Where in the volume each canvas voxel lies, as a sampling grid, and whether it lies inside."""
    counts = np.asarray(volume.size[::-1], np.float64)
    normalised_from_voxel = np.eye(4)
    normalised_from_voxel[:3, :3] = np.diag(2.0 / counts)
    normalised_from_voxel[:3, 3] = 1.0 / counts - 1.0
    theta = (normalised_from_voxel @ np.linalg.inv(working_from_voxel))[:3]
    grid = F.affine_grid(torch.from_numpy(theta)[None], [1, 1, size, size, size], align_corners=False)[0]
    return grid.float(), (grid.abs() <= 1.0).all(dim=-1)


def _value_range(voxels: NDArray[Any], usable: BoolMask) -> tuple[float, float]:
    """1st and 99th percentile of the usable voxels, of a large volume of a part of them; else the outermost values."""
    thin = tuple(slice(None, None, max(1, count // _SAMPLES_ACROSS)) for count in voxels.shape)
    sampled = voxels[thin][usable[thin]]
    if sampled.size:
        low, high = np.percentile(sampled, (1, 99))
        if low < high:
            return float(low), float(high)
    return float(voxels[usable].min()), float(voxels[usable].max())


def _low_pass(array: NDArray[Any], working_from_voxel: Float, size: int) -> NDArray[np.float32]:
    """A Gaussian that keeps what a canvas can show."""
    # Canvas voxels are 2 / size apart; columns are the steps of x, y and slice.
    steps = (2.0 / size) / np.linalg.norm(working_from_voxel[:3, :3], axis=0)
    sigmas = [0.4 * max(float(step) - 1.0, 0.0) for step in steps[::-1]]
    return np.asarray(ndimage.gaussian_filter(array.astype(np.float32), sigmas, mode="nearest"), np.float32)
