"""Free-form refinement: Gauss-Newton steps on the control points of a deformation, at one resolution.

The similarity of the images and landmarks pull; bending and rigid regions hold. Targets do not pull: how their outlines
miss would bend the body. A step that would squeeze any pixel to less than a tenth of its area is shortened, so the
deformation cannot fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.registration.alignment import Alignment, through, warp
from services.fusion.registration.comparison import Compare, Comparison
from services.fusion.registration.deformation import Deformation, smallest_determinant
from services.fusion.registration.gauss_newton import Climb, Descent, climb, normal_fields
from services.fusion.registration.lattice import canvas_lattice
from services.fusion.registration.rigidity import Rigidity
from services.fusion.registration.similarity import overlap_weight
from services.fusion.registration.workspace import CanvasPair
from services.fusion.stepping import Work

LEAST_DETERMINANT = 0.1


@dataclass(frozen=True)
class FreeFormLevel:
    """One level of the refinement.

    Attributes:
        size: side of the canvas in pixels.
        intervals: of the splines; those of the level before, or doubled some times.
        steps: Gauss-Newton steps at most.
        compare: prepares the comparison with the fixed canvas.
        bending: weight of the bending energy.
        landmark_weight: weight of the landmarks' mean squared distance in working units.
        rigid_weight: weight of the mean squared deviation of the rigid region's Jacobian from a rotation.
        enough: gain of a step below which the level ends.
    """

    size: int
    intervals: int
    steps: int
    compare: Compare
    bending: float
    landmark_weight: float = 0.0
    rigid_weight: float = 0.0
    enough: float = 1e-5


def refine_free_form(pair: CanvasPair, start: Alignment, level: FreeFormLevel) -> Climb[Alignment]:
    """Climb.

    Args:
        pair: canvases of the level's size.
        start: where to begin; without a deformation, or with one of as many intervals or fewer.
        level: what to climb and how.
    """
    deformation = start.deformation or Deformation.none(level.intervals)
    begun = Alignment(start.matrix, deformation.refined(level.intervals))
    return climb(FreeFormProblem(pair, level), begun, pair.size, Descent(level.steps, level.enough))


class FreeFormProblem:
    """Changes of the control points under a fixed matrix."""

    def __init__(self, pair: CanvasPair, level: FreeFormLevel) -> None:
        self.pair, self.level = pair, level
        self.lattice = canvas_lattice(pair.size, level.intervals)
        self.compare = level.compare(pair.fixed.pixels, pair.fixed.valid)
        # Where the last proposal displaces each pixel to: it is needed twice.
        self.displaced: tuple[Alignment, Tensor] | None = None
        self.rigidity = None if pair.rigid is None or level.rigid_weight <= 0 else Rigidity(self.lattice, pair.rigid)

    def look(self, alignment: Alignment) -> Work[FreeFormStanding]:
        """Measure an alignment."""
        pair, level = self.pair, self.level
        grid = through(alignment.matrix, self._displaced(alignment))
        weight = overlap_weight(pair, grid)
        images = self.compare(warp(pair.moving.pixels[None], grid)[0], weight)
        yield
        objective = images.similarity
        control = _control(alignment).flatten(1)
        objective -= level.bending * float((control @ self.lattice.bending * control).sum())
        objective -= level.landmark_weight * pair.landmarks.energy(alignment)
        if self.rigidity is not None:
            objective -= level.rigid_weight * self.rigidity.energy(alignment)
        return FreeFormStanding(self, alignment, objective, images)

    def stepped(self, alignment: Alignment, step: Tensor, longest: float) -> Alignment | None:
        """The alignment after a step; None where a pixel would be squeezed too much."""
        control = _deformation(alignment).control
        # A spline moves no point farther than its control points move.
        change = step * min(1.0, longest / max(float(step.norm(dim=0).max()), 1e-12))
        proposal = Alignment(alignment.matrix, Deformation(control + change))
        return proposal if self._is_kept_apart(proposal) else None

    def _is_kept_apart(self, proposal: Alignment) -> bool:
        """Whether no pixel is squeezed too much; looks at them only where the control points leave that open."""
        if _deformation(proposal).determinant_bound >= LEAST_DETERMINANT:
            return True
        return smallest_determinant(self._displaced(proposal) * (self.pair.size / 2.0)) >= LEAST_DETERMINANT

    def _displaced(self, alignment: Alignment) -> Tensor:
        if self.displaced is None or self.displaced[0] is not alignment:
            self.displaced = alignment, alignment.displaced(self.pair.size)
        return self.displaced[1]


@dataclass(frozen=True, eq=False)
class FreeFormStanding:
    """An alignment under which the images have been compared.

    Attributes:
        problem: what is climbed.
        alignment: where.
        objective: similarity less what is held against it.
        images: how they compare.
    """

    problem: FreeFormProblem
    alignment: Alignment
    objective: float
    images: Comparison

    @property
    def similarity(self) -> float:
        """Of the images."""
        return self.images.similarity

    def step(self) -> Work[Tensor | None]:
        """The Gauss-Newton step of the control points (2, m, m); None where there is none."""
        lattice, level = self.problem.lattice, self.problem.level
        pixels, forces = self.per_pixel()
        yield
        control = _control(self.alignment)
        products = lattice.products(pixels)
        force = lattice.gathered(forces) - level.bending * (control.flatten(1) @ lattice.bending).reshape(control.shape)
        landmarks = self.problem.pair.landmarks
        if level.landmark_weight > 0 and len(landmarks):
            shares = level.landmark_weight * landmarks.shares
            pull = lattice.point_products(landmarks.fixed, shares)
            products = products + torch.stack([pull, torch.zeros_like(pull), pull])
            missing = landmarks.missing(self.alignment)
            force = force + lattice.gathered_points(landmarks.fixed, shares[:, None] * missing)
        if self.problem.rigidity is not None:
            stiff, restoring = self.problem.rigidity.equations(self.alignment)
            products, force = products + level.rigid_weight * stiff, force + level.rigid_weight * restoring
        return lattice.solved(products, level.bending, force)

    def per_pixel(self) -> tuple[Tensor, Tensor]:
        """Matrices and forces per pixel, for displacements before the matrix.

        Channels were differentiated along the fixed canvas, through displacement and matrix; dividing by the Jacobian
        of the displacement leaves the derivative by the displacement itself.
        """
        matrices, forces = normal_fields(self.images)
        (xx, xy), (yx, yy) = self.problem.lattice.gradient(_control(self.alignment))
        xx, yy = 1.0 + xx, 1.0 + yy
        determinant = (xx * yy - xy * yx).clamp(min=LEAST_DETERMINANT)
        # Rows of the inverse's transpose.
        first, second = (yy / determinant, -yx / determinant), (-xy / determinant, xx / determinant)
        g_xx, g_xy, g_yy = matrices

        def form(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> Tensor:
            (a, b), (c, d) = left, right
            formed: Tensor = a * c * g_xx + (a * d + b * c) * g_xy + b * d * g_yy
            return formed

        pulled = torch.stack([form(first, first), form(first, second), form(second, second)])
        return pulled, torch.stack([row[0] * forces[0] + row[1] * forces[1] for row in (first, second)])


def _deformation(alignment: Alignment) -> Deformation:
    if alignment.deformation is None:
        raise ValueError("a free-form refinement needs a deformation")
    return alignment.deformation


def _control(alignment: Alignment) -> Tensor:
    return _deformation(alignment).control.float()
