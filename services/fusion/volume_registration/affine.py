"""Affine refinement: Gauss-Newton steps on the similarity of two volumes at one resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from services.fusion.registration.comparison import Comparison
from services.fusion.registration.gauss_newton import Climb, Descent, climb
from services.fusion.registration.spline import pixel_centres
from services.fusion.stepping import Work
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.deformation import separable
from services.fusion.volume_registration.normal_equations import FULL, Comparer, Measure, normal_fields
from services.fusion.volume_registration.similarity import seen
from services.fusion.volume_registration.workspace import CanvasPair

RIGID_DEGREES = 6
SIMILARITY_DEGREES = 7
AFFINE_DEGREES = 12
_DAMPING = 1e-4


@dataclass(frozen=True)
class AffineLevel:
    """One level of the refinement.

    Attributes:
        size: side of the canvas in voxels.
        steps: Gauss-Newton steps at most.
        measure: what is climbed.
        degrees: AFFINE_DEGREES, SIMILARITY_DEGREES for rotation, one scale and translation, or RIGID_DEGREES.
        enough: gain of a step below which the level ends.
    """

    size: int
    steps: int
    measure: Measure
    degrees: int = AFFINE_DEGREES
    enough: float = 1e-5


@lru_cache(maxsize=1)
def generators() -> Tensor:
    """float64 (12, 4, 4): the motions that matrices are made of; not to be written to.

    Shifts along x, y and z, turns about them, growth; then stretches of x against y and of both against z, and shears
    of x with y, x with z and y with z. One unit of any moves the canvas's edge by about one working unit.
    """
    motions = torch.zeros(AFFINE_DEGREES, 4, 4, dtype=torch.float64)
    for axis in range(3):
        motions[axis, axis, 3] = 1.0
        first, second = (axis + 1) % 3, (axis + 2) % 3
        motions[3 + axis, second, first], motions[3 + axis, first, second] = 1.0, -1.0
        motions[6, axis, axis] = 1.0
    motions[7, 0, 0], motions[7, 1, 1] = 0.5, -0.5
    motions[8, 0, 0], motions[8, 1, 1], motions[8, 2, 2] = 0.5, 0.5, -1.0
    for number, (first, second) in enumerate(((0, 1), (0, 2), (1, 2)), 9):
        motions[number, first, second] = motions[number, second, first] = 1.0
    return motions


def correction(values: Tensor) -> Tensor:
    """The matrix, float64 (4, 4), of amounts of the first generators: the identity where all are zero."""
    motion = torch.einsum("g,gij->ij", values, generators()[: len(values)])
    matrix: Tensor = torch.linalg.matrix_exp(motion)
    matrix[3] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    return matrix


def refine_affine(pair: CanvasPair, start: Alignment, level: AffineLevel) -> Climb[Alignment]:
    """Climb the similarity.

    Args:
        pair: canvases of the level's size.
        start: where to begin, affine.
        level: what to climb and how.
    """
    return climb(_AffineProblem(pair, level), start, pair.size, Descent(level.steps, level.enough))


class _AffineProblem:
    """Corrections of an affine alignment: the matrix M becomes M · correction."""

    def __init__(self, pair: CanvasPair, level: AffineLevel) -> None:
        self.pair, self.level = pair, level
        self.comparer = Comparer(level.measure, pair.fixed.voxels, pair.fixed.valid)

    def look(self, alignment: Alignment) -> Work[_AffineStanding]:
        voxels, weight = yield from seen(self.pair, alignment)
        compared = yield from self.comparer.of(voxels, weight)
        return _AffineStanding(alignment, compared, self.level.degrees)

    def stepped(self, alignment: Alignment, step: Tensor, longest: float) -> Alignment:
        values = step.double()
        values = values * min(1.0, longest / max(float(values.abs().max()), 1e-12))
        return Alignment(alignment.matrix @ correction(values))


@dataclass(frozen=True, eq=False)
class _AffineStanding:
    alignment: Alignment
    compared: Comparison
    degrees: int

    @property
    def objective(self) -> float:
        return self.compared.similarity

    @property
    def similarity(self) -> float:
        return self.compared.similarity

    def step(self) -> Work[Tensor | None]:
        matrices, forces = yield from normal_fields(self.compared)
        matrix, force = _equations(matrices, forces, generators()[: self.degrees])
        matrix.diagonal().add_(_DAMPING * matrix.diagonal().mean() + 1e-12)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        return None if failed else torch.cholesky_solve(force[:, None], factor)[:, 0]


def _equations(matrices: Tensor, forces: Tensor, motions: Tensor) -> tuple[Tensor, Tensor]:
    """The system of all generators, float64, from what each voxel asks for.

    A generator moves a voxel by a linear function of (x, y, z, 1), so that sums of the voxels' matrices times products
    of two of these four are all that is needed, and they are separable.
    """
    place = pixel_centres(matrices.shape[-1]).float()
    powers = torch.stack([torch.ones_like(place), place, place.square()])
    # (..., 3, 3, 3): sums times powers of z, y and x.
    second = separable(matrices, (powers, powers, powers)).double()
    first = separable(forces, (powers[:2],) * 3).double()
    exponents = torch.cat([torch.eye(3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long)])
    x, y, z = (exponents[:, None] + exponents[None]).unbind(dim=-1)
    products = second[list(FULL)].reshape(3, 3, 3, 3, 3)[:, :, z, y, x]
    x, y, z = exponents.unbind(dim=-1)
    rows = motions[:, :3]
    matrix = torch.einsum("gak,abkl,hbl->gh", rows, products, rows)
    force = torch.einsum("gak,ak->g", rows, first[:, z, y, x])
    return matrix, force
