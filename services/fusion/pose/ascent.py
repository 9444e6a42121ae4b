"""Climbing the similarity by Levenberg's and Marquardt's method.

The expected curvature leaves out that a projection's fine detail moves faster than sampled gradients say, and so steps
would be too long. Each step tells by how much: the change of slope along it, over the change expected, scales the
curvature of the next (Oren and Luenberger 1974).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.pose.rigid import RigidSpace
from services.fusion.pose.scene import Fit, Scene

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-3, 1e2
# A rise of the mean correlation that is not worth a step.
_WORTHLESS = 1e-5
_LEAST_STIFFNESS, _MOST_STIFFNESS = 0.5, 4.0


@dataclass(frozen=True, eq=False)
class Place:
    """A motion, how well the views agree there, and whether the climb ended at a maximum.

    Attributes:
        motion: float64 (6,), see `RigidSpace`.
        fit: at the motion.
        settled: the last step was shorter than the tolerance, or promised nothing.
    """

    motion: Tensor
    fit: Fit
    settled: bool = False


@dataclass(frozen=True, eq=False)
class Climb:
    """How far to climb.

    Attributes:
        steps: how many steps are tried at most.
        tolerance_mm: steps shorter than this end the climb.
        free: float64 (6, n), orthonormal columns: the directions in which steps may go.
    """

    steps: int
    tolerance_mm: float
    free: Tensor


def ascend(scene: Scene, space: RigidSpace, start: Tensor, climb: Climb) -> Iterator[Place]:
    """Yield ever higher places, the start first and then one after each step tried; the last is the highest.

    Args:
        scene: what is compared.
        space: what motions mean.
        start: float64 (6,).
        climb: how far.
    """
    place, damping, stiffness = Place(start, scene.fit(space, start)), _FIRST_DAMPING, 1.0
    yield place
    for _ in range(climb.steps):
        step = _step(place.fit, stiffness, damping, climb.free)
        trial = place.motion + step
        fit = scene.fit(space, trial)
        short = float(torch.linalg.norm(step)) < climb.tolerance_mm or _promise(place.fit, step) < _WORTHLESS
        stiffness = _stiffness(place.fit, fit, step)
        if fit.similarity > place.fit.similarity:
            place, damping = Place(trial, fit, settled=short), max(damping / 4, _LEAST_DAMPING)
        else:
            place, damping = Place(place.motion, place.fit, settled=short), damping * 4
        yield place
        if short or damping > _MOST_DAMPING:
            return


def _step(fit: Fit, stiffness: float, damping: float, basis: Tensor) -> Tensor:
    """The step to the top of the parabola, shortened by damping, within the basis; float64 (6,)."""
    curvature = stiffness * basis.T @ fit.curvature @ basis
    identity = torch.eye(len(curvature), dtype=torch.float64)
    # Damping by the mean curvature holds directions still along which little can be seen.
    ridge = damping * torch.trace(curvature) / len(curvature) + 1e-12
    shift: Tensor = torch.linalg.solve(curvature + ridge * identity, basis.T @ fit.gradient)
    return basis @ shift


def _promise(fit: Fit, step: Tensor) -> float:
    """By how much a step should raise the mean correlation."""
    return float(fit.gradient @ step) / 2 / max(fit.weight, 1.0)


def _stiffness(before: Fit, after: Fit, step: Tensor) -> float:
    """The curvature found along a step over the curvature that was expected, within bounds."""
    expected = float(step @ before.curvature @ step)
    found = float((before.gradient - after.gradient) @ step)
    return min(max(found / expected, _LEAST_STIFFNESS), _MOST_STIFFNESS) if expected > 0 else 1.0
