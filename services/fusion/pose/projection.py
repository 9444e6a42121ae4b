"""What a radiograph of the volume would show, and how it changes when the body moves a little.

A pixel is the integral of relative attenuation m along its ray. When the body turns by w about a point p and shifts
by t, attenuation at a point X of the room changes by -grad m . (t + w x (X - p)). On a ray X = o + s d that is linear
in s, so all six derivatives of the pixel follow from two vectors, the integrals of grad m and of s grad m: the
radiograph and its derivatives cost one pass over the same samples, and nothing is recorded for differentiation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.pose.attenuation import TISSUE, AttenuationVolume
from services.fusion.pose.rays import Rays

# Taken at a time: they fill about 250 MB.
_MOST_SAMPLES = 1 << 23


@dataclass(frozen=True, eq=False)
class ProjectedVolume:
    """A digitally reconstructed radiograph.

    Attributes:
        image: float64 (height, width): relative attenuation integrated, in mm of water.
        derivatives: float64 (6, height, width): by a turn in radians about the pivot's x, y and z axes, and by a shift
            along them in mm, axes of the room.
        complete: bool (height, width), false where the body goes on beyond the volume along the ray.
    """

    image: Tensor
    derivatives: Tensor
    complete: Tensor


def project(volume: AttenuationVolume, rays: Rays, patient_to_room: Tensor, pivot: Tensor) -> ProjectedVolume:
    """Project the volume in a pose.

    Args:
        volume: the CT.
        rays: of the radiograph.
        patient_to_room: float64 (4, 4), rigid.
        pivot: float64 (3,), room mm, about which turns are meant.
    """
    index_from_room = volume.index_from_patient @ torch.linalg.inv(patient_to_room)
    origin = rays.origin @ index_from_room[:3, :3].T + index_from_room[:3, 3]
    direction = rays.direction @ index_from_room[:3, :3].T
    span = _clip(origin, direction, volume.size, rays.reach)
    lengths = span[:, 1] - span[:, 0]
    hit = torch.nonzero(lengths > 0).flatten()
    height, width = rays.image.shape
    image = torch.zeros(height * width, dtype=torch.float64)
    derivatives = torch.zeros(6, height * width, dtype=torch.float64)
    complete = torch.ones(height * width, dtype=torch.bool)
    count = _sample_count(volume, lengths[hit])
    to_room = patient_to_room[:3, :3] @ volume.axes
    for part in torch.split(hit, max(1, _MOST_SAMPLES // count)):
        distances, samples = _sample(volume, origin[part], direction[part], span[part], count)
        step = lengths[part] / count
        complete[part] = torch.maximum(samples[0, :, 0], samples[0, :, -1]) < TISSUE
        image[part] = samples[0].sum(dim=1).double() * step
        flux = to_room @ (samples[1:].sum(dim=2).double() * step)
        moment = to_room @ ((samples[1:] * distances).sum(dim=2).double() * step)
        arm = (rays.origin[part] - pivot).T
        along = rays.direction[part].T
        # A shift along its ray leaves a pixel as it is, as long as the body lies inside the volume: exactly, not only
        # to within what sampling does.
        flux = flux - along * (along * flux).sum(dim=0)
        turn = torch.linalg.cross(arm, flux, dim=0) + torch.linalg.cross(along, moment, dim=0)
        derivatives[:, part] = -torch.cat([turn, flux])
    return ProjectedVolume(image.view(height, width), derivatives.view(6, height, width), complete.view(height, width))


def _clip(origin: Tensor, direction: Tensor, size: Tensor, reach: Tensor) -> Tensor:
    """Where rays enter and leave the volume's box, as distances in mm; float64 (rays, 2) (slab method)."""
    # A ray along an axis never meets the planes across it: a tiny component keeps the quotient finite.
    safe = torch.where(direction.abs() < 1e-12, torch.full_like(direction, 1e-12), direction)
    low, high = (-0.5 - origin) / safe, (size - 0.5 - origin) / safe
    enter = torch.minimum(low, high).amax(dim=1)
    leave = torch.maximum(low, high).amin(dim=1)
    bounded = torch.isfinite(reach)
    enter = torch.where(bounded, enter.clamp(min=0), enter)
    return torch.stack([enter, torch.minimum(leave, reach)], dim=1)


def _sample_count(volume: AttenuationVolume, lengths: Tensor) -> int:
    """One sample a voxel along the longest ray; no ray crosses more voxels than the volume's three sides have."""
    longest = float(lengths.max()) if len(lengths) else 0.0
    return max(2, min(math.ceil(longest / min(volume.spacing_mm)), int(volume.size.sum())))


def _sample(
    volume: AttenuationVolume, origin: Tensor, direction: Tensor, span: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Distances (rays, count) and channels at them (4, rays, count): the middles of equal parts of every ray."""
    parts = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    distances = span[:, :1] + parts * (span[:, 1:] - span[:, :1])
    # grid_sample wants [-1, 1] between the outer edges of the first and the last voxel.
    scale = 2 / volume.size
    start, slope = ((origin + 0.5) * scale - 1).float(), (direction * scale).float()
    near = distances.float()
    grid = start[:, None] + near[..., None] * slope[:, None]
    samples = F.grid_sample(volume.channels, grid[None, None], padding_mode="border", align_corners=False)
    return near, samples[0, :, 0]
