"""How alike two volumes of different modalities are: MIND-SSC and normalised gradient fields, in three dimensions.

Tensors are float32 (depth, height, width) unless said otherwise.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.stepping import Work
from services.fusion.volume_registration.alignment import Alignment, warp
from services.fusion.volume_registration.workspace import CanvasPair

_EPSILON = 1e-6
# Neighbours (z, y, x) of a voxel; MIND-SSC compares every two that are adjacent on the octahedron around it.
_OCTAHEDRON = ((0, 0, -1), (0, 0, 1), (0, -1, 0), (0, 1, 0), (-1, 0, 0), (1, 0, 0))
_PAIRS = tuple(
    (one, other)
    for one, other in itertools.combinations(_OCTAHEDRON, 2)
    if any(a + b for a, b in zip(one, other, strict=True))
)
_DILATION = 2
_REACH = 3
"""Voxels beyond which nothing enters a descriptor: the dilation and the patch."""


def mind_ssc(volume: Tensor, dilation: int = _DILATION) -> Tensor:
    """Modality-independent neighbourhood descriptors with self-similarity context.

    Each channel holds exp(-D / V): D is the distance between the patches around two neighbours of a voxel that are
    adjacent on the octahedron around it, V the mean of D over those pairs. The descriptor does not change when the
    intensities are scaled, shifted or inverted.

    Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities",
    MICCAI 2013.

    Args:
        volume: (depth, height, width).
        dilation: distance of the neighbours in voxels.

    Returns:
        (12, depth, height, width), values in [0, 1].
    """
    depth, height, width = volume.shape
    padded = F.pad(volume[None, None], (dilation,) * 6, mode="replicate")[0, 0]
    neighbours = {
        (z, y, x): padded[(1 + z) * dilation :, (1 + y) * dilation :, (1 + x) * dilation :][:depth, :height, :width]
        for z, y, x in _OCTAHEDRON
    }
    distance = torch.stack([smoothed((neighbours[one] - neighbours[other]).square()) for one, other in _PAIRS])
    distance -= distance.amin(dim=0, keepdim=True)
    variance = distance.mean(dim=0)
    # Where nothing varies the quotient would be noise: the clamp is relative to the whole volume.
    typical = float(variance.mean())
    variance = variance.clamp(min=1e-3 * typical + 1e-12, max=1e3 * typical + 1e-12)
    return distance.div_(variance).neg_().exp_()


def smoothed(volume: Tensor) -> Tensor:
    """Weighted mean over 3 x 3 x 3 voxels, [1 2 1] / 4 along each axis."""
    for axis in range(3):
        count = volume.shape[axis]
        before = torch.cat([volume.narrow(axis, 0, 1), volume.narrow(axis, 0, count - 1)], dim=axis)
        after = torch.cat([volume.narrow(axis, 1, count - 1), volume.narrow(axis, count - 1, 1)], dim=axis)
        volume = before.add_(after).mul_(0.25).add_(volume, alpha=0.5)
    return volume


def slopes(volume: Tensor) -> Tensor:
    """(3, depth, height, width): derivatives along x, y and z per voxel, central differences."""
    found = torch.empty(3, *volume.shape, dtype=volume.dtype)
    for component, axis in enumerate((2, 1, 0)):
        last = volume.shape[axis] - 1
        slope = found[component]
        torch.sub(
            volume.narrow(axis, 2, last - 1), volume.narrow(axis, 0, last - 1), out=slope.narrow(axis, 1, last - 1)
        )
        slope.select(axis, 0).copy_(volume.select(axis, 1) - volume.select(axis, 0))
        slope.select(axis, last).copy_(volume.select(axis, last) - volume.select(axis, last - 1))
    return found.mul_(0.5)


def orientation_tensor(volume: Tensor, weight: Tensor) -> Tensor:
    """The outer product of the normalised gradient field g / sqrt(|g|² + η²) with itself, η the weighted mean of |g|.

    Its inner product with another's is the squared inner product of the two fields: blind to the sign of edges.

    Haber and Modersitzki, "Intensity gradient based registration and fusion of multi-modal images", 2006.

    Returns:
        (6, depth, height, width): xx, yy, zz, √2·xy, √2·xz and √2·yz.
    """
    gradient = slopes(volume)
    squared = gradient.square().sum(dim=0)
    edge = (squared.sqrt() * weight).sum() / (weight.sum() + _EPSILON)
    x, y, z = gradient.div_((squared + edge**2 + _EPSILON**2).sqrt())
    root = 2**0.5
    return torch.stack([x * x, y * y, z * z, root * x * y, root * x * z, root * y * z])


def seen(pair: CanvasPair, alignment: Alignment) -> Work[tuple[Tensor, Tensor]]:
    """The moving canvas warped onto the fixed one, and 1 where both are valid and no border lies within reach."""
    yield
    grid = alignment.sampling_grid(pair.size)
    yield
    voxels, valid = warp(torch.stack([pair.moving.voxels, pair.moving.valid]), grid)
    yield
    both = (pair.fixed.valid > 0) & (valid > 0.99) & (grid.abs() <= 1.0).all(dim=-1)
    return voxels, eroded(both, _REACH)


def eroded(mask: Tensor, margin: int) -> Tensor:
    """float32, the mask's shape: 1 where every voxel within a cube of `margin` voxels around is in the mask."""
    inside = F.pad(mask, (margin,) * 6)
    for axis, count in enumerate(mask.shape):
        whole = inside.narrow(axis, 0, count).clone()
        for offset in range(1, 2 * margin + 1):
            whole &= inside.narrow(axis, offset, count)
        inside = whole
    return inside.float()
