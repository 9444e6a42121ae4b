"""Affine refinement: gradient ascent on the similarity of two images at one resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.fusion.registration.alignment import Alignment, Candidate, warp
from services.fusion.registration.similarity import Measure, overlap_weight
from services.fusion.registration.workspace import CanvasPair

SIMILARITY_DEGREES = 4
AFFINE_DEGREES = 6


@dataclass(frozen=True)
class AffineLevel:
    """One level of the refinement.

    Attributes:
        size: side of the canvas in pixels.
        iterations: gradient steps.
        step: first step length, in working units and radians; it falls to a tenth of it along a cosine.
        measure: prepares the similarity with the fixed canvas.
        degrees: AFFINE_DEGREES, or SIMILARITY_DEGREES for rotation, one scale and translation.
        target_weight: weight of the disagreement of the targets' outlines.
    """

    size: int
    iterations: int
    step: float
    measure: Callable[[Tensor], Measure]
    degrees: int = AFFINE_DEGREES
    target_weight: float = 0.0


def correction(values: Tensor) -> Tensor:
    """The matrix, float64 (3, 3), of numbers that are all zero for the identity.

    They are shift x, shift y, rotation and log scale; then, for an affine one, log of the ratio of the scales along x
    and y, and shear. One unit of any of them moves the edge of the canvas by about one working unit, so one step
    length suits all.
    """
    shift_x, shift_y, angle, log_scale = values[:4]
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    log_ratio, shear = values[4:] if len(values) == AFFINE_DEGREES else (zero, zero)
    cos, sin = angle.cos(), angle.sin()
    rigid = torch.stack([cos, -sin, shift_x, sin, cos, shift_y, zero, zero, one]).reshape(3, 3)
    scale_x, scale_y = (log_scale + log_ratio / 2).exp(), (log_scale - log_ratio / 2).exp()
    stretch = torch.stack([scale_x, shear, zero, zero, scale_y, zero, zero, zero, one]).reshape(3, 3)
    return rigid @ stretch


def refine_affine(pair: CanvasPair, start: Alignment, level: AffineLevel) -> Iterator[Candidate]:
    """Climb the similarity with Adam; yield where it stands before each step, and at last the result.

    The result comes with the similarity of the step before it.

    Args:
        pair: canvases of the level's size.
        start: where to begin.
        level: what to climb and how.
    """
    measure = level.measure(pair.fixed.pixels)
    values = torch.zeros(level.degrees, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([values], lr=level.step)
    last = 0.0
    for iteration in range(level.iterations):
        optimiser.param_groups[0]["lr"] = level.step * (0.55 + 0.45 * np.cos(np.pi * iteration / level.iterations))
        matrix = start.matrix @ correction(values)
        similarity = measure(warp(pair.moving.pixels[None], matrix)[0], overlap_weight(pair, matrix))
        loss = -similarity
        if level.target_weight > 0 and pair.has_targets:
            loss = loss + level.target_weight * target_disagreement(pair, matrix)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        last = float(similarity.detach())
        yield Candidate(Alignment(matrix.detach()), last)
        optimiser.step()
    yield Candidate(Alignment((start.matrix @ correction(values)).detach()), last)


def target_disagreement(pair: CanvasPair, matrix: Tensor) -> Tensor:
    """Mean absolute difference of the targets' signed distances where either is near its target."""
    fixed, moving = pair.fixed.distances, warp(pair.moving.distances, matrix)
    near = ((fixed > -1) | (moving.detach() > -1)).float()
    return ((fixed - moving).abs() * near).sum() / near.sum().clamp(min=1.0)
