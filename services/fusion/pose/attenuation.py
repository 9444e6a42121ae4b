"""The volume as rays see it: attenuation relative to water with its gradient, at one resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import InvalidField, LimitExceeded, NoContent
from hilum.geometry import Float, PatientFrame, pixel_to_patient

TISSUE = 0.25
"""Relative attenuation above which a voxel belongs to the body; lung lies below, but inside of it."""
_AIR_HU = -1000.0
_DENSEST = 60.0
_MOST_VOXELS = 1 << 25


@dataclass(frozen=True, eq=False)
class AttenuationVolume:
    """A CT cropped to the body.

    Attributes:
        channels: float32 (1, 4, depth, height, width): attenuation relative to water, and its gradient per mm along
            the volume's own x, y and slice axes.
        index_from_patient: float64 (4, 4), patient LPS mm to (x, y, slice) indices.
        axes: float64 (3, 3), the volume's direction cosines: gradients to LPS.
        spacing_mm: (x, y, slice).
    """

    channels: Tensor
    index_from_patient: Tensor
    axes: Tensor
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, relative: Tensor, frame: PatientFrame) -> AttenuationVolume:
        """Crop to the body and take derivatives.

        Args:
            relative: float32 (depth, height, width), attenuation relative to water.
            frame: where the voxels lie; three spacings above 0.

        Raises:
            NoContent: nothing in it is denser than air.
        """
        first, last = _body_box(relative)
        cropped = relative[tuple(slice(begin, end) for begin, end in zip(first, last, strict=True))]
        patient_from_index = np.eye(4)
        patient_from_index[:3, :3] = np.asarray(frame.direction) * np.asarray(frame.spacing_mm)
        patient_from_index[:3, 3] = pixel_to_patient(frame, [first[::-1]])[0]
        return cls(
            _with_derivatives(cropped, frame.spacing_mm),
            torch.as_tensor(np.linalg.inv(patient_from_index)),
            torch.tensor(frame.direction, dtype=torch.float64),
            frame.spacing_mm,
        )

    @property
    def size(self) -> Tensor:
        """float64 (3,): the number of voxels along x, y and slices."""
        return torch.tensor(self.channels.shape[:1:-1], dtype=torch.float64)

    def body_points_mm(self, most: int) -> Float:
        """Voxels of the body, at most about `most` of them, evenly picked; float64 (n, 3), LPS."""
        slices, rows, columns = torch.nonzero(self.channels[0, 0] > TISSUE, as_tuple=True)
        index = torch.stack([columns, rows, slices], dim=1).double()
        index = index[:: max(1, len(index) // most)]
        patient_from_index = torch.linalg.inv(self.index_from_patient)
        points: Float = (index @ patient_from_index[:3, :3].T + patient_from_index[:3, 3]).numpy()
        return points


def relative_attenuation(hounsfield: NDArray[Any], padding_value: float | None = None) -> Tensor:
    """Attenuation relative to water, from 0 to dense metal; float32, the volume's shape. Padding counts as air."""
    values = np.asarray(hounsfield, np.float32)
    if padding_value is not None:
        values = np.where(hounsfield == padding_value, np.float32(_AIR_HU), values)
    return torch.as_tensor(values).div(-_AIR_HU).add(1).clamp(0, _DENSEST)


def pooled(relative: Tensor, frame: PatientFrame, resolution_mm: float) -> tuple[Tensor, PatientFrame]:
    """Means over blocks of voxels, as near as possible to cubes of this edge, and where their middles lie.

    Voxels that are longer stay as they are; what does not fill a block is left out.

    Raises:
        InvalidField: the volume is thinner than two blocks.
        LimitExceeded: too many blocks.
    """
    factors = [max(1, round(resolution_mm / spacing)) for spacing in frame.spacing_mm]
    if any(count < 2 * factor for count, factor in zip(relative.shape, reversed(factors), strict=True)):
        raise InvalidField(f"has shape {tuple(relative.shape)}: too thin to be projected", field="estimation.shape")
    if relative.numel() // math.prod(factors) > _MOST_VOXELS:
        raise LimitExceeded(
            f"has shape {tuple(relative.shape)} and {frame.spacing_mm} mm spacing: too many voxels of a size that no "
            "body has; check the spacing",
            field="estimation.shape",
        )
    x, y, z = (spacing * factor for spacing, factor in zip(frame.spacing_mm, factors, strict=True))
    origin = pixel_to_patient(frame, [[(factor - 1) / 2 for factor in factors]])[0]
    moved = replace(frame, origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])), spacing_mm=(x, y, z))
    return F.avg_pool3d(relative[None], factors[::-1])[0], moved


def _body_box(volume: Tensor) -> tuple[list[int], list[int]]:
    """First and one past the last index of the tissue along each axis, with a voxel of margin."""
    tissue = volume > TISSUE
    if not bool(tissue.any()):
        raise NoContent("nothing in the volume is denser than air; its values must be in HU", field="voxels")
    first, last = [], []
    for axis, count in enumerate(volume.shape):
        others = [other for other in range(3) if other != axis]
        filled = torch.nonzero(tissue.any(dim=others[1]).any(dim=others[0])).flatten()
        first.append(max(0, int(filled[0]) - 1))
        last.append(min(count, int(filled[-1]) + 2))
    return first, last


def _with_derivatives(volume: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """The volume and its derivatives along x, y and slices; float32 (1, 4, depth, height, width)."""
    channels = [volume]
    for axis, step in zip((2, 1, 0), spacing, strict=True):
        channels.append(_derivative(volume, axis) / step)
    return torch.stack(channels)[None].contiguous()


def _derivative(volume: Tensor, axis: int) -> Tensor:
    """Differences of fourth order per voxel: those of second order halve the slope of what is four voxels long."""
    count = volume.shape[axis]
    edge = torch.arange(-2, count + 2).clamp(0, count - 1)
    wide = volume.index_select(axis, edge)
    near = wide.narrow(axis, 3, count) - wide.narrow(axis, 1, count)
    far = wide.narrow(axis, 4, count) - wide.narrow(axis, 0, count)
    return (8 * near - far) / 12
