"""Points that a person marked in both images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.registration.alignment import Alignment


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Pairs of corresponding points in working space, float64.

    Attributes:
        fixed: (n, 2).
        moving: (n, 2).
        shares: (n,), each pair's share of the whole weight; they add up to 1, or there is none.
    """

    fixed: Tensor
    moving: Tensor
    shares: Tensor

    @classmethod
    def none(cls) -> Landmarks:
        """No pairs."""
        return cls(torch.zeros(0, 2).double(), torch.zeros(0, 2).double(), torch.zeros(0).double())

    def __len__(self) -> int:
        return len(self.fixed)

    def missing(self, alignment: Alignment) -> Tensor:
        """(n, 2): by how much each displaced fixed point misses the place that the matrix takes to its partner."""
        back = torch.linalg.inv(alignment.matrix)
        wanted = self.moving @ back[:2, :2].T + back[:2, 2]
        displaced = self.fixed
        if alignment.deformation is not None:
            displaced = displaced + alignment.deformation.at(displaced)
        missing: Tensor = wanted - displaced
        return missing

    def energy(self, alignment: Alignment) -> float:
        """Weighted mean of the squared distances, in working units of the fixed image; 0 without landmarks."""
        if not len(self):
            return 0.0
        return float((self.shares * self.missing(alignment).square().sum(dim=1)).sum())
