"""Affine refinement: Gauss-Newton steps on the similarity of two images at one resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.comparison import Compare, Comparison, compare_distances
from services.fusion.registration.gauss_newton import Climb, Descent, climb, normal_fields
from services.fusion.registration.similarity import overlap_weight
from services.fusion.registration.spline import pixel_grid
from services.fusion.registration.workspace import CanvasPair
from services.fusion.stepping import Work

_DAMPING = 1e-4
RIGID_DEGREES = 3
SIMILARITY_DEGREES = 4
AFFINE_DEGREES = 6


@dataclass(frozen=True)
class AffineLevel:
    """One level of the refinement.

    Attributes:
        size: side of the canvas in pixels.
        steps: Gauss-Newton steps at most.
        compare: prepares the comparison with the fixed canvas.
        degrees: AFFINE_DEGREES, SIMILARITY_DEGREES for rotation, one scale and translation, or RIGID_DEGREES.
        target_weight: weight of the disagreement of the targets' signed distances.
        landmark_weight: weight of the landmarks' mean squared distance in working units.
        enough: gain of a step below which the level ends.
    """

    size: int
    steps: int
    compare: Compare
    degrees: int = AFFINE_DEGREES
    target_weight: float = 0.0
    landmark_weight: float = 0.0
    enough: float = 1e-5


def correction(values: Tensor) -> Tensor:
    """The matrix, float64 (3, 3), of numbers that are all zero for the identity.

    They are shift x, shift y and rotation; then log scale; then, for an affine one, log of the ratio of the scales
    along x and y, and shear. One unit of any of them moves the edge of the canvas by about one working unit.
    """
    shift_x, shift_y, angle = values[:RIGID_DEGREES]
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    log_scale = values[3] if len(values) >= SIMILARITY_DEGREES else zero
    log_ratio, shear = values[4:] if len(values) == AFFINE_DEGREES else (zero, zero)
    cos, sin = angle.cos(), angle.sin()
    rigid = torch.stack([cos, -sin, shift_x, sin, cos, shift_y, zero, zero, one]).reshape(3, 3)
    scale_x, scale_y = (log_scale + log_ratio / 2).exp(), (log_scale - log_ratio / 2).exp()
    stretch = torch.stack([scale_x, shear, zero, zero, scale_y, zero, zero, zero, one]).reshape(3, 3)
    return rigid @ stretch


def motions(x: Tensor, y: Tensor, degrees: int) -> Tensor:
    """How points move per unit of each number of `correction`, near the identity.

    Args:
        x: (...) coordinates.
        y: (...) coordinates.
        degrees: how many numbers.

    Returns:
        (degrees, 2, ...).
    """
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    fields = [(one, zero), (zero, one), (-y, x), (x, y), (x / 2, -y / 2), (y, zero)]
    return torch.stack([torch.stack(field) for field in fields[:degrees]])


def refine_affine(pair: CanvasPair, start: Alignment, level: AffineLevel) -> Climb[Alignment]:
    """Climb the similarity.

    Args:
        pair: canvases of the level's size.
        start: where to begin, affine.
        level: what to climb and how.
    """
    return AffineProblem(pair, level).climbed_from(start)


@lru_cache(maxsize=16)
def _canvas_motions(size: int, degrees: int) -> Tensor:
    """float32 (degrees, 2, size, size): `motions` of a canvas's pixels; not to be written to."""
    x, y = pixel_grid(size)
    return motions(x, y, degrees).float()


class AffineProblem:
    """Corrections of an affine alignment: the matrix M becomes M · correction."""

    def __init__(self, pair: CanvasPair, level: AffineLevel) -> None:
        self.pair, self.level = pair, level
        self.compare = level.compare(pair.fixed.pixels, pair.fixed.valid)
        self.compare_targets = compare_distances(pair.fixed.distances)
        self.motions = _canvas_motions(pair.size, level.degrees)

    def climbed_from(self, start: Alignment) -> Climb[Alignment]:
        """Climb from an affine alignment."""
        return climb(self, start, self.pair.size, Descent(self.level.steps, self.level.enough))

    def look(self, alignment: Alignment) -> Work[_AffineStanding]:
        """Measure an alignment."""
        pair, level = self.pair, self.level
        grid = alignment.sampling_grid(pair.size)
        weight = overlap_weight(pair, grid)
        images = self.compare(warp(pair.moving.pixels[None], grid)[0], weight)
        yield
        compared, objective = [(1.0, images)], images.similarity
        if level.target_weight > 0 and pair.has_targets:
            targets = self.compare_targets(warp(pair.moving.distances, grid), weight)
            compared.append((level.target_weight, targets))
            objective += level.target_weight * targets.similarity
        objective -= level.landmark_weight * pair.landmarks.energy(alignment)
        return _AffineStanding(self, alignment, objective, images.similarity, compared)

    def stepped(self, alignment: Alignment, step: Tensor, longest: float) -> Alignment:
        """The alignment after a step."""
        values = step.double()
        values = values * min(1.0, longest / max(float(values.abs().max()), 1e-12))
        return Alignment(alignment.matrix @ correction(values))


@dataclass(frozen=True, eq=False)
class _AffineStanding:
    problem: AffineProblem
    alignment: Alignment
    objective: float
    similarity: float
    compared: list[tuple[float, Comparison]]

    def step(self) -> Work[Tensor | None]:
        matrix, force = self._equations()
        yield
        matrix.diagonal().add_(_DAMPING * matrix.diagonal().mean() + 1e-12)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        return None if failed else torch.cholesky_solve(force[:, None], factor)[:, 0]

    def _equations(self) -> tuple[Tensor, Tensor]:
        fields = self.problem.motions.flatten(2)
        matrix, force = torch.zeros(len(fields), len(fields)), torch.zeros(len(fields))
        for weight, comparison in self.compared:
            (xx, xy, yy), forces = normal_fields(comparison)
            pushed = torch.empty_like(fields)
            torch.add(xx.flatten() * fields[:, 0], xy.flatten() * fields[:, 1], out=pushed[:, 0])
            torch.add(xy.flatten() * fields[:, 0], yy.flatten() * fields[:, 1], out=pushed[:, 1])
            matrix += weight * (pushed.flatten(1) @ fields.flatten(1).T)
            force += weight * (fields.flatten(1) @ forces.flatten())
        landmarks = self.problem.pair.landmarks
        if self.problem.level.landmark_weight > 0 and len(landmarks):
            x, y = landmarks.fixed.T
            moves = motions(x, y, len(fields)).transpose(1, 2)
            shares = self.problem.level.landmark_weight * landmarks.shares
            missing = landmarks.missing(self.alignment)
            matrix += torch.einsum("pnc,qnc,n->pq", moves, moves, shares).float()
            force += torch.einsum("pnc,nc,n->p", moves, missing, shares).float()
        return matrix, force
