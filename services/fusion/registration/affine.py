"""Affine refinement: gradient ascent on the similarity of two images at one resolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.canvas import CanvasPair
from services.fusion.registration.similarity import Measure, overlap_weight


@dataclass(frozen=True)
class AffineLevel:
    """One level of the refinement.

    Attributes:
        size: side of the canvas in pixels.
        iterations: gradient steps.
        step: first step length, in working units and radians; it falls to a tenth of it along a cosine.
    """

    size: int
    iterations: int
    step: float


def correction(values: Tensor) -> Tensor:
    """The affine matrix, float64 (3, 3), of six numbers that are zero for the identity.

    They are rotation, shear, log scale x, log scale y, shift x and shift y in working space. One unit of any of
    them moves the edge of the canvas by about one working unit, so one step length suits all.
    """
    angle, shear, log_x, log_y, shift_x, shift_y = values
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    rigid = torch.stack([cos, -sin, shift_x, sin, cos, shift_y, zero, zero, one]).reshape(3, 3)
    stretch = torch.stack([log_x.exp(), shear, zero, zero, log_y.exp(), zero, zero, zero, one])
    return rigid @ stretch.reshape(3, 3)


def refine_affine(
    pair: CanvasPair, start: Alignment, measure: Measure, level: AffineLevel, target_weight: float = 0.0
) -> Iterator[tuple[Alignment, float]]:
    """Climb the similarity with Adam; yield the alignment and its similarity before each step, then the last.

    Args:
        pair: canvases of the level's size.
        start: where to begin.
        measure: prepared with the fixed canvas.
        level: steps and their length.
        target_weight: weight of the disagreement of the two targets' signed distances; 0 ignores the targets.
    """
    values = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([values], lr=level.step)
    for iteration in range(level.iterations):
        for group in optimiser.param_groups:
            group["lr"] = level.step * (0.55 + 0.45 * np.cos(np.pi * iteration / level.iterations))
        matrix = start.matrix @ correction(values)
        moving = warp(pair.moving.pixels[None], matrix)[0]
        similarity = measure(moving, overlap_weight(pair, matrix))
        loss = -similarity
        if target_weight > 0:
            loss = loss + target_weight * target_disagreement(pair, matrix)
        optimiser.zero_grad()
        loss.backward()
        yield Alignment(matrix.detach()), float(similarity.detach())
        optimiser.step()
    final = Alignment((start.matrix @ correction(values)).detach())
    yield final, similarity_of(pair, final, measure)


def similarity_of(pair: CanvasPair, alignment: Alignment, measure: Measure) -> float:
    """The similarity of the two canvases under an alignment."""
    with torch.no_grad():
        moving = warp(pair.moving.pixels[None], alignment.matrix)[0]
        return float(measure(moving, overlap_weight(pair, alignment.matrix)))


def target_disagreement(pair: CanvasPair, matrix: Tensor) -> Tensor:
    """Mean absolute difference of the targets' capped signed distances where either is below its cap."""
    fixed, moving = pair.fixed.target_distance, pair.moving.target_distance
    if fixed is None or moving is None:
        return matrix.new_zeros(())
    warped = warp(moving[None], matrix)[0]
    near = ((fixed > -1) | (warped.detach() > -1)).float()
    return ((fixed - warped).abs() * near).sum() / near.sum().clamp(min=1.0)
