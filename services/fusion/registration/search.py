"""Coarse search: rotations and scales on a grid, every translation at once by Fourier transform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.registration.alignment import Alignment, Candidate, affine_grid, warp
from services.fusion.registration.canvas import Canvas
from services.fusion.registration.similarity import eroded, gradient_field, orientation_tensor
from services.fusion.registration.workspace import CanvasPair


@dataclass(frozen=True)
class SearchGrid:
    """What the search tries.

    Attributes:
        rotations_deg: rotations of fixed_to_moving about the canvas centre.
        scales: isotropic scales of fixed_to_moving.
        max_shift: largest translation along x or y in working units (1 is half a canvas), without an anchor.
        min_overlap: smallest part of the smaller image that must overlap.
        anchor_radius: how far the two points of an anchor may lie apart in a search that starts from it.
    """

    rotations_deg: tuple[float, ...] = (0.0, -5.0, 5.0, -10.0, 10.0, -15.0, 15.0)
    scales: tuple[float, ...] = (1.0, 0.92, 1.08, 0.85, 1.17)
    max_shift: float = 0.6
    min_overlap: float = 0.4
    anchor_radius: float = 0.1


@dataclass(frozen=True, eq=False)
class Anchor:
    """A point of the fixed canvas and where it should about lie on the moving one; float64 (2,) in working space."""

    fixed: Tensor
    moving: Tensor


def target_anchor(pair: CanvasPair) -> Anchor:
    """The targets' centroids; there must be targets.

    Use it only where the outlines of the two correspond: an organ in a slab and in a projection has different ones, and
    this start is then worse than none.
    """
    return Anchor(pair.fixed.target_centre, pair.moving.target_centre)


def landmark_anchor(pair: CanvasPair) -> Anchor:
    """The landmarks' centroids; there must be landmarks."""
    shares = pair.landmarks.shares[:, None]
    return Anchor((shares * pair.landmarks.fixed).sum(dim=0), (shares * pair.landmarks.moving).sum(dim=0))


def search(pair: CanvasPair, grid: SearchGrid, anchor: Anchor | None = None) -> Iterator[list[Candidate[Alignment]]]:
    """Yield, scale by scale, the best translation for each rotation.

    The score is the cosine between the orientation tensors of the normalised gradient fields over the overlap: the
    squared inner product of the fields (NGF), normalised so that a small overlap rich in edges does not win.

    Args:
        pair: canvases at a coarse resolution; 64 pixels across serve well.
        grid: what is tried.
        anchor: only translations that bring its points together.
    """
    fixed = torch.fft.rfft2(_edges(pair.fixed, torch.eye(3, dtype=torch.float64)))
    shifts = _shifts(pair.size)
    allowed = (shifts.abs() <= grid.max_shift).all(dim=0)
    for scale in grid.scales:
        matrices = [_rotation(angle, scale) for angle in grid.rotations_deg]
        moving = torch.fft.rfft2(torch.stack([_edges(pair.moving, matrix) for matrix in matrices]))
        candidates = []
        for matrix, score in zip(matrices, _scores(fixed, moving, grid.min_overlap), strict=True):
            where = allowed
            if anchor is not None:
                start = torch.linalg.solve(matrix[:2, :2], anchor.moving) - anchor.fixed
                where = (shifts - start[:, None, None]).norm(dim=0) <= grid.anchor_radius
            best = torch.where(where, score, -1.0).argmax()
            # Shifting the rotated canvas by d samples the moving image at A (x + d).
            matrix[:2, 2] = matrix[:2, :2] @ shifts.flatten(1)[:, best]
            candidates.append(Candidate(Alignment(matrix), float(score.flatten()[best])))
        yield candidates


def _rotation(angle_deg: float, scale: float) -> Tensor:
    angle = np.deg2rad(angle_deg)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def _edges(canvas: Canvas, matrix: Tensor) -> Tensor:
    """(5, 2n, 2n): orientation tensor, its squared norm and validity under a linear matrix.

    On a canvas of twice the side, so that rotation crops nothing and shifts do not wrap around.
    """
    size = canvas.pixels.shape[0]
    margin = (size // 2,) * 4
    sampled = affine_grid(matrix, 2 * size)
    pixels = warp(F.pad(canvas.pixels[None, None], margin, mode="replicate")[0], sampled)[0]
    valid = warp(F.pad(canvas.valid[None], margin), sampled, padding="zeros")[0] > 0.99
    # The gradient next to an invalid pixel is not one of the image.
    inner = eroded(valid, 1)
    tensor = orientation_tensor(gradient_field(pixels, inner)) * inner
    return torch.cat([tensor, tensor.square().sum(dim=0, keepdim=True), inner[None]])


def _shifts(size: int) -> Tensor:
    """(2, 2n, 2n): the shift (x, y) in working units that each element of a score map stands for."""
    along = torch.fft.fftfreq(2 * size, dtype=torch.float64) * 4.0
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y])


def _scores(fixed: Tensor, moving: Tensor, min_overlap: float) -> Tensor:
    """(candidates, 2n, 2n): the score of every shift d, at which fixed(x) meets moving(x + d)."""
    inner_product = torch.fft.irfft2((fixed[:3].conj() * moving[:, :3]).sum(dim=1))
    fixed_energy = torch.fft.irfft2(fixed[3].conj() * moving[:, 4]).clamp(min=0)
    moving_energy = torch.fft.irfft2(fixed[4].conj() * moving[:, 3]).clamp(min=0)
    overlap = torch.fft.irfft2(fixed[4].conj() * moving[:, 4])
    # The zero frequency of the validity is its area.
    area = torch.minimum(fixed[4, 0, 0].real, moving[:, 4, 0, 0].real)[:, None, None]
    score = inner_product / (fixed_energy * moving_energy).sqrt().clamp(min=1e-3)
    return torch.where(overlap >= min_overlap * area, score, 0.0)
