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
from services.fusion.stepping import Work

_SAMPLES_ACROSS = 128
"""Voxels along the longest side that the range of a volume's values is taken from."""
_AT_ONCE = 1 << 21
"""Voxels that are worked on before somebody may stop the work."""
_NO_BLUR = 1e-15
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

    def usable(self, part: tuple[slice, ...]) -> BoolMask:
        """Which voxels of a part are finite and no padding."""
        voxels = self.voxels[part]
        finite = np.isfinite(voxels)
        return np.asarray(finite if self.padding_value is None else finite & (voxels != self.padding_value))

    def slabs(self, axis: int = 0) -> list[tuple[slice, ...]]:
        """Parts that follow one another along an axis, each small enough to be worked on at one go."""
        count = self.voxels.shape[axis]
        thick = max(1, _AT_ONCE * count // self.voxels.size)
        whole = [slice(None)] * 3
        return [(*whole[:axis], slice(at, at + thick), *whole[axis + 1 :]) for at in range(0, count, thick)]

    def range(self) -> Work[tuple[float, float]]:
        """The least and the largest usable voxel; infinities in the wrong order where there is none."""
        least, largest = np.inf, -np.inf
        for part in self.slabs():
            values = self.voxels[part][self.usable(part)]
            if values.size:
                least, largest = min(least, float(values.min())), max(largest, float(values.max()))
            yield
        return least, largest

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

    def check(self, field: str) -> Work[None]:
        """Refuse what shows nothing.

        Args:
            field: the path of this volume in the request.

        Raises:
            NoContent: the voxels are constant or all padding.
        """
        least, largest = yield from self.range()
        if least >= largest:
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


def draw(volume: RegistrationVolume, working_from_voxel: Float, size: int) -> Work[Canvas]:
    """Draw a volume onto a canvas of `size` voxels, low-pass filtered where that loses resolution."""
    low, high = yield from _value_range(volume)
    # Means over usable voxels only, or the value of padding would bleed into the body.
    scaled, usable = np.empty(volume.size, np.float32), np.empty(volume.size, np.float32)
    for part in volume.slabs():
        shown = usable[part] = volume.usable(part)
        values = np.where(shown, volume.voxels[part], low).astype(np.float32)
        scaled[part] = np.clip((values - np.float32(low)) / np.float32(high - low), -_FAR, _FAR) * shown
        yield
    yield from _low_pass(scaled, volume, working_from_voxel, size)
    if not usable.all():
        yield from _low_pass(usable, volume, working_from_voxel, size)
    grid = _voxel_places(volume, working_from_voxel, size)
    yield
    inside = (grid.abs() <= 1.0).all(dim=-1)
    grid = grid.float()
    yield
    sampled = []
    for channel in (scaled, usable):
        sampled.append(
            F.grid_sample(
                torch.from_numpy(channel)[None, None], grid[None], padding_mode="border", align_corners=False
            )[0, 0]
        )
        yield
    weighted, weight = sampled
    return Canvas(weighted / weight.clamp(min=1e-3), (inside & (weight > 0.5)).float())


def _voxel_places(volume: RegistrationVolume, working_from_voxel: Float, size: int) -> Tensor:
    """float64 (size, size, size, 3): where in the volume each canvas voxel lies, as a sampling grid."""
    counts = np.asarray(volume.size[::-1], np.float64)
    normalised_from_voxel = np.eye(4)
    normalised_from_voxel[:3, :3] = np.diag(2.0 / counts)
    normalised_from_voxel[:3, 3] = 1.0 / counts - 1.0
    theta = (normalised_from_voxel @ np.linalg.inv(working_from_voxel))[:3]
    return F.affine_grid(torch.from_numpy(theta)[None], [1, 1, size, size, size], align_corners=False)[0]


def _value_range(volume: RegistrationVolume) -> Work[tuple[float, float]]:
    """1st and 99th percentile of the usable voxels, of a large volume of a part of them; else the outermost values."""
    thin = tuple(slice(None, None, max(1, count // _SAMPLES_ACROSS)) for count in volume.size)
    sampled = volume.voxels[thin][volume.usable(thin)]
    yield
    if sampled.size:
        low, high = np.percentile(sampled, (1, 99))
        yield
        if low < high:
            return float(low), float(high)
    return (yield from volume.range())


def _low_pass(
    voxels: NDArray[np.float32], volume: RegistrationVolume, working_from_voxel: Float, size: int
) -> Work[None]:
    """A Gaussian that keeps what a canvas can show, in place, axis by axis."""
    # Canvas voxels are 2 / size apart; columns are the steps of x, y and slice.
    steps = (2.0 / size) / np.linalg.norm(working_from_voxel[:3, :3], axis=0)
    sigmas = [0.4 * max(float(step) - 1.0, 0.0) for step in steps[::-1]]
    for axis, sigma in enumerate(sigmas):
        if sigma > _NO_BLUR:
            # Cut across another axis, so that no slab needs to know its neighbours.
            for part in volume.slabs(axis=1 if axis == 0 else 0):
                ndimage.gaussian_filter1d(voxels[part], sigma, axis, output=voxels[part], mode="nearest")
                yield
