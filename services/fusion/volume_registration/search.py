"""Coarse search: rotations on a grid, every translation at once by Fourier transform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from services.fusion.registration.alignment import Candidate
from services.fusion.volume_registration.alignment import Alignment, warp
from services.fusion.volume_registration.canvas import Canvas
from services.fusion.volume_registration.similarity import eroded, orientation_tensor
from services.fusion.volume_registration.workspace import CanvasPair

_EDGE_CHANNELS = 6


@dataclass(frozen=True)
class SearchGrid:
    """What the search tries.

    Attributes:
        turns_deg: rotation vectors of fixed_to_moving about the canvas centre.
        max_shift: largest translation along an axis in working units (1 is half a canvas).
        min_overlap: smallest part of the smaller volume that must overlap.
    """

    turns_deg: tuple[tuple[float, float, float], ...] = (
        (0.0, 0.0, 0.0),
        (-12.0, 0.0, 0.0),
        (12.0, 0.0, 0.0),
        (0.0, -12.0, 0.0),
        (0.0, 12.0, 0.0),
        (0.0, 0.0, -12.0),
        (0.0, 0.0, 12.0),
    )
    max_shift: float = 0.6
    min_overlap: float = 0.4


def search(pair: CanvasPair, grid: SearchGrid) -> Iterator[Candidate[Alignment]]:
    """Yield the best translation for each rotation.

    The score is the cosine between the orientation tensors of the normalised gradient fields over the overlap,
    normalised so that a small overlap rich in edges does not win.

    Args:
        pair: canvases at a coarse resolution; 32 voxels across serve well.
        grid: what is tried.
    """
    fixed = torch.fft.rfftn(_edges(pair.fixed, torch.eye(4, dtype=torch.float64)), dim=(1, 2, 3))
    shifts = _shifts(pair.size)
    allowed = (shifts.abs() <= grid.max_shift).all(dim=0)
    for turn in grid.turns_deg:
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3] = torch.from_numpy(Rotation.from_rotvec(np.array(turn), degrees=True).as_matrix())
        moving = torch.fft.rfftn(_edges(pair.moving, matrix), dim=(1, 2, 3))
        score = torch.where(allowed, _scores(fixed, moving, grid.min_overlap), -1.0).flatten()
        best = score.argmax()
        # Shifting the rotated canvas by d samples the moving volume at A (x + d).
        matrix[:3, 3] = matrix[:3, :3] @ shifts.flatten(1)[:, best]
        yield Candidate(Alignment(matrix), float(score[best]))


def _edges(canvas: Canvas, matrix: Tensor) -> Tensor:
    """(8, 2n, 2n, 2n): orientation tensor, its squared norm and validity under a linear matrix.

    On a canvas of twice the side, so that rotation crops nothing and shifts do not wrap around.
    """
    size = canvas.voxels.shape[0]
    margin = (size // 2,) * 6
    voxels = F.pad(canvas.voxels[None, None], margin, mode="replicate")[0]
    grid = Alignment(matrix).sampling_grid(2 * size)
    sampled, valid = warp(torch.cat([voxels, F.pad(canvas.valid, margin)[None]]), grid)
    # The gradient next to an invalid voxel is not one of the volume.
    inner = eroded(valid > 0.99, 1)
    tensor = orientation_tensor(sampled, inner) * inner
    return torch.cat([tensor, tensor.square().sum(dim=0, keepdim=True), inner[None]])


def _shifts(size: int) -> Tensor:
    """(3, 2n, 2n, 2n): the shift (x, y, z) in working units that each element of a score map stands for."""
    along = torch.fft.fftfreq(2 * size, dtype=torch.float64) * 4.0
    z, y, x = torch.meshgrid(along, along, along, indexing="ij")
    return torch.stack([x, y, z])


def _scores(fixed: Tensor, moving: Tensor, min_overlap: float) -> Tensor:
    """(2n, 2n, 2n): the score of every shift d, at which fixed(x) meets moving(x + d)."""
    edges = slice(0, _EDGE_CHANNELS)
    energy, valid = _EDGE_CHANNELS, _EDGE_CHANNELS + 1
    products = torch.stack(
        [
            (fixed[edges].conj() * moving[edges]).sum(dim=0),
            fixed[energy].conj() * moving[valid],
            fixed[valid].conj() * moving[energy],
            fixed[valid].conj() * moving[valid],
        ]
    )
    inner, fixed_energy, moving_energy, overlap = torch.fft.irfftn(products, dim=(1, 2, 3))
    # The zero frequency of the validity is its volume.
    least = min_overlap * torch.minimum(fixed[valid, 0, 0, 0].real, moving[valid, 0, 0, 0].real)
    score = inner / (fixed_energy.clamp(min=0) * moving_energy.clamp(min=0)).sqrt().clamp(min=1e-3)
    return torch.where(overlap >= least, score, 0.0)
