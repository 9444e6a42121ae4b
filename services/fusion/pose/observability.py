"""Which motions the views can see: standard errors from the curvature of the similarity.

At the maximum the curvature is Fisher's information. Windows overlap and radiograph and projection differ by more than
noise, so its inverse alone would be far too sure of itself: blocks of windows stand for independent observations, and
the scatter of their slopes enters (the sandwich estimator, Huber 1967; blocks as clusters, Liang and Zeger 1986).

A standard error still says nothing of errors that all windows share, such as hardening of the beam, to which a
direction that hardly changes the picture is most exposed. A direction therefore counts as seen only if its standard
error is small against those of the others, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.pose.scene import Fit

FLAT = 2e-3
"""Curvature, as a share of the largest, below which a direction is not seen at all."""
VAGUE_RATIO = 4.0
"""A standard error of this many times the median of all six is too large to go by."""
FINE_MM = 1.5
"""A standard error in mm that is small enough in any case: half a voxel of the finest resolution."""
VAGUE_MM = 3.0
"""A standard error in mm that is too large to go by."""
# A cosine.
_LARGELY = 0.5


@dataclass(frozen=True, eq=False)
class UnseenDirection:
    """A direction among rigid motions along which the views do not fix the pose.

    Attributes:
        motion: float64 (6,), a unit vector, see `RigidSpace`.
        standard_error_mm: of the pose along it; None where the similarity does not change at all.
    """

    motion: Tensor
    standard_error_mm: float | None


@dataclass(frozen=True, eq=False)
class Observability:
    """What the views see at a pose.

    Attributes:
        unseen: directions along which the pose is not fixed, at right angles to each other.
        standard_errors_mm: of all six principal directions, ascending; infinite where flat.
    """

    unseen: tuple[UnseenDirection, ...]
    standard_errors_mm: tuple[float, ...]

    @classmethod
    def of(cls, fit: Fit) -> Observability:
        """From the curvature and scatter at the maximum."""
        curvatures, axes = torch.linalg.eigh(fit.curvature)
        flat = curvatures <= FLAT * curvatures[-1].clamp(min=1e-9)
        seen = axes[:, ~flat]
        directions = [UnseenDirection(axis, None) for axis in axes[:, flat].T]
        errors = [float("inf")] * len(directions)
        if seen.shape[1] > 0:
            spread = (seen.T @ fit.scatter @ seen) / torch.outer(curvatures[~flat], curvatures[~flat])
            variances, turned = torch.linalg.eigh(spread)
            deviations = variances.clamp(min=0).sqrt()
            limit = max(FINE_MM, min(VAGUE_MM, VAGUE_RATIO * float(deviations.median())))
            vague = zip(deviations.tolist(), (seen @ turned).T, strict=True)
            directions += [UnseenDirection(axis, error) for error, axis in vague if error > limit]
            errors += deviations.tolist()
        return cls(tuple(directions), tuple(sorted(errors)))

    def hides(self, direction: Tensor) -> bool:
        """Whether a unit vector lies largely, within 60 degrees, in what is not seen."""
        motions = [unseen.motion for unseen in self.unseen]
        return bool(motions) and float(torch.linalg.norm(torch.stack(motions) @ direction)) > _LARGELY

    def seen_basis(self, held: Tensor | None = None) -> Tensor:
        """float64 (6, n): orthonormal columns at right angles to what is not seen.

        Args:
            held: float64 (6,), a unit vector: where it is hidden, it stands for the unseen direction that is nearest to
                it, so that what was held stays held exactly.
        """
        motions = [unseen.motion for unseen in self.unseen]
        if held is not None and self.hides(held):
            nearest = max(range(len(motions)), key=lambda index: abs(float(motions[index] @ held)))
            motions[nearest] = held
        return complement(motions)


def complement(directions: list[Tensor]) -> Tensor:
    """float64 (6, n): an orthonormal basis of all that lies at right angles to these independent directions."""
    if not directions:
        return torch.eye(6, dtype=torch.float64)
    across: Tensor = torch.linalg.svd(torch.stack(directions), full_matrices=True)[2]
    return across[len(directions) :].T
