"""The volume as rays see it: attenuation relative to water with its gradient, at one resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import InvalidField, NoContent
from hilum.geometry import Float, PatientFrame

TISSUE = 0.25
"""Relative attenuation above which a voxel belongs to the body; lung lies below, but inside of it."""
_AIR_HU = -1000.0


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
    def of(cls, hounsfield: NDArray[np.generic], frame: PatientFrame, resolution_mm: float) -> AttenuationVolume:
        """Average blocks of voxels, as near as possible to cubes of this edge.

        Args:
            hounsfield: (depth, height, width) in HU.
            frame: where the voxels lie; three spacings above 0.
            resolution_mm: edge of the cubes; voxels that are longer stay as they are.

        Raises:
            InvalidField: the volume is thinner than two blocks.
            NoContent: nothing in it is denser than air.
        """
        factors = [max(1, round(resolution_mm / spacing)) for spacing in reversed(frame.spacing_mm)]
        relative = torch.as_tensor(np.asarray(hounsfield, np.float32)).div(-_AIR_HU).add(1).clamp(min=0)
        if any(count < 2 * factor for count, factor in zip(relative.shape, factors, strict=True)):
            raise InvalidField(f"has shape {tuple(relative.shape)}: too thin to be projected", field="volume.shape")
        pooled = F.avg_pool3d(relative[None], factors)[0]
        first, last = _body_box(pooled)
        cropped = pooled[tuple(slice(begin, end) for begin, end in zip(first, last, strict=True))]
        x_factor, y_factor, z_factor = reversed(factors)
        spacing = frame.spacing_mm[0] * x_factor, frame.spacing_mm[1] * y_factor, frame.spacing_mm[2] * z_factor
        index = torch.tensor([*reversed(first)], dtype=torch.float64) * torch.tensor([x_factor, y_factor, z_factor])
        index += torch.tensor([(factor - 1) / 2 for factor in (x_factor, y_factor, z_factor)])
        axes = torch.tensor(frame.direction, dtype=torch.float64)
        patient_from_index = torch.eye(4, dtype=torch.float64)
        patient_from_index[:3, :3] = axes * torch.tensor(spacing)
        native = torch.tensor(frame.spacing_mm, dtype=torch.float64)
        patient_from_index[:3, 3] = torch.tensor(frame.origin_mm, dtype=torch.float64) + axes @ (native * index)
        return cls(_with_gradient(cropped, spacing), torch.linalg.inv(patient_from_index), axes, spacing)

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


def _body_box(volume: Tensor) -> tuple[list[int], list[int]]:
    """First and one past the last index of the tissue along each axis, with a voxel of margin."""
    tissue = volume > TISSUE
    if not bool(tissue.any()):
        raise NoContent("nothing in the volume is denser than air; its values must be in HU", field="volume")
    first, last = [], []
    for axis, count in enumerate(volume.shape):
        others = [other for other in range(3) if other != axis]
        filled = torch.nonzero(tissue.any(dim=others[1]).any(dim=others[0])).flatten()
        first.append(max(0, int(filled[0]) - 1))
        last.append(min(count, int(filled[-1]) + 2))
    return first, last


def _with_gradient(volume: Tensor, spacing: tuple[float, float, float]) -> Tensor:
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
