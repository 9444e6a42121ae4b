"""How well two volumes agree under an alignment: the yardstick that every stage is judged by."""

from __future__ import annotations

from dataclasses import replace

import torch

from services.fusion.stepping import Work, finished
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.similarity import mind_ssc, orientation_tensor, seen
from services.fusion.volume_registration.workspace import CanvasPair

_EPSILON = 1e-6
_MIN_OVERLAP = 0.1
_SLIP = 0.05


class Agreement:
    """Similarity of structure at one resolution: the mean of what MIND-SSC and gradient orientations say.

    MIND-SSC: 1 minus the mean absolute difference of descriptors. Gradients: the cosine between orientation tensors. An
    alignment under which less than a tenth of the fixed volume meets the moving one agrees by 0.

    Args:
        pair: the canvases on which alignments are compared.
    """

    def __init__(self, pair: CanvasPair) -> None:
        self._pair = pair
        self._descriptors = mind_ssc(pair.fixed.voxels)
        self._orientations = orientation_tensor(pair.fixed.voxels, pair.fixed.valid)
        self._known: dict[Alignment, float] = {}

    def of(self, alignment: Alignment) -> float:
        """The agreement, in [0, 1]; higher is better. Taken once for each alignment object."""
        if alignment not in self._known:
            self._known[alignment] = self._measured(alignment)
        return self._known[alignment]

    def distinctness(self, alignment: Alignment) -> Work[float]:
        """How much the similarity falls, on average, when a volume slips by a fortieth of the canvas.

        Of six directions. Two volumes of one body stand out from their neighbours; another body hardly does.
        """
        slipped = []
        for axis in range(3):
            for sign in (-1, 1):
                slip = torch.eye(4, dtype=torch.float64)
                slip[axis, 3] = sign * _SLIP
                slipped.append(self._measured(replace(alignment, matrix=alignment.matrix @ slip)))
                yield
        return self.of(alignment) - sum(slipped) / len(slipped)

    def _measured(self, alignment: Alignment) -> float:
        voxels, weight = finished(seen(self._pair, alignment))
        total = weight.sum()
        if total < _MIN_OVERLAP * self._pair.fixed.valid.sum():
            return 0.0
        mind = 1.0 - float(((self._descriptors - mind_ssc(voxels)).abs_().mean(dim=0) * weight).sum() / total)
        moving = orientation_tensor(voxels, weight)
        inner, fixed_norm, moving_norm = (
            ((one * other).sum(dim=0) * weight).sum()
            for one, other in (
                (self._orientations, moving),
                (self._orientations, self._orientations),
                (moving, moving),
            )
        )
        return 0.5 * (mind + float(inner / (fixed_norm * moving_norm + _EPSILON).sqrt()))
