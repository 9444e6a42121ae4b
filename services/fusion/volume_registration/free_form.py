"""Free-form refinement: Gauss-Newton steps on the control points of a deformation, at one resolution.

The similarity of the volumes pulls; bending holds. A step that would squeeze tissue to less than a tenth of its volume
is shortened, so that the deformation cannot fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.registration.comparison import Comparison
from services.fusion.registration.gauss_newton import Climb, Descent, climb
from services.fusion.stepping import Work
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.deformation import Deformation, bent, determinants
from services.fusion.volume_registration.lattice import Lattice
from services.fusion.volume_registration.normal_equations import FULL, SYMMETRIC, Comparer, Measure, normal_fields
from services.fusion.volume_registration.similarity import seen
from services.fusion.volume_registration.workspace import CanvasPair

LEAST_DETERMINANT = 0.1


@dataclass(frozen=True)
class FreeFormLevel:
    """One level of the refinement.

    Attributes:
        size: side of the canvas in voxels.
        intervals: of the splines; those of the level before, or doubled some times.
        steps: Gauss-Newton steps at most.
        measure: what is climbed.
        bending: weight of the bending energy.
        enough: gain of a step below which the level ends.
    """

    size: int
    intervals: int
    steps: int
    measure: Measure
    bending: float
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
    return climb(_FreeFormProblem(pair, level), begun, pair.size, Descent(level.steps, level.enough))


class _FreeFormProblem:
    """Changes of the control points under a fixed matrix."""

    def __init__(self, pair: CanvasPair, level: FreeFormLevel) -> None:
        self.pair, self.level = pair, level
        self.lattice = Lattice(pair.size, level.intervals)
        self.comparer = Comparer(level.measure, pair.fixed.voxels, pair.fixed.valid)

    def look(self, alignment: Alignment) -> Work[_FreeFormStanding]:
        voxels, weight = yield from seen(self.pair, alignment)
        compared = yield from self.comparer.of(voxels, weight)
        objective = compared.similarity - self.level.bending * _deformation(alignment).bending_energy
        return _FreeFormStanding(self, alignment, objective, compared)

    def stepped(self, alignment: Alignment, step: Tensor, longest: float) -> Alignment | None:
        # A spline moves no point farther than its control points move.
        change = step * min(1.0, longest / max(float(step.norm(dim=0).max()), 1e-12))
        control = _deformation(alignment).control + change
        if float(determinants(self.jacobian(control)).min()) < LEAST_DETERMINANT:
            return None
        return Alignment(alignment.matrix, Deformation(control))

    def jacobian(self, control: Tensor) -> Tensor:
        """(3, 3, k, k, k): derivatives of x + u(x) on the lattice's coarse grid."""
        jacobian = self.lattice.gradient(control)
        jacobian.diagonal().add_(1.0)
        return jacobian


@dataclass(frozen=True, eq=False)
class _FreeFormStanding:
    problem: _FreeFormProblem
    alignment: Alignment
    objective: float
    compared: Comparison

    @property
    def similarity(self) -> float:
        return self.compared.similarity

    def step(self) -> Work[Tensor | None]:
        """The Gauss-Newton step of the control points (3, m, m, m).

        Channels were differentiated along the fixed canvas, through displacement and matrix; dividing by the Jacobian
        of the displacement leaves the derivative by the displacement itself.
        """
        lattice, level = self.problem.lattice, self.problem.level
        control = _deformation(self.alignment).control
        matrices, forces = yield from normal_fields(self.compared)
        back = _inverse_transpose(self.problem.jacobian(control))
        full = lattice.pooled(matrices)[list(FULL)].reshape(3, 3, *back.shape[2:])
        turned = torch.einsum("ij...,jk...->ik...", back, full)
        pulled = torch.stack([(turned[row] * back[column]).sum(dim=0) for row, column in SYMMETRIC])
        yield
        force = lattice.gathered(torch.einsum("ij...,j...->i...", back, lattice.pooled(forces)))
        force -= level.bending * bent(control)
        return (yield from lattice.solved(pulled, level.bending, force))


def _inverse_transpose(jacobian: Tensor) -> Tensor:
    """Transposed inverses (3, 3, ...) of matrices (3, 3, ...), whose determinants are held above a tenth."""
    determinant = determinants(jacobian).clamp(min=LEAST_DETERMINANT)
    first, second, third = jacobian
    rows = [torch.linalg.cross(*pair, dim=0) for pair in ((second, third), (third, first), (first, second))]
    return torch.stack(rows) / determinant


def _deformation(alignment: Alignment) -> Deformation:
    if alignment.deformation is None:
        raise ValueError("a free-form refinement needs a deformation")
    return alignment.deformation
