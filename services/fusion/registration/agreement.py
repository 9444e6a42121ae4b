"""How well two images agree under an alignment: the yardstick that every stage is judged by."""

from __future__ import annotations

import math

import torch

from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.similarity import information_measure, overlap_weight, structure_measure
from services.fusion.registration.workspace import CanvasPair

_MIN_OVERLAP = 0.1
# Outlines decide between alignments that look alike, but a wrong outline must not outvote clear images.
_TARGET_WEIGHT = 0.3
_SLIP = 0.05


class Agreement:
    """Similarity of structure at one resolution, plus .3 times the mean Dice of the targets where there are any.

    An alignment under which less than a tenth of the fixed image meets the moving one agrees by 0.

    Args:
        pair: the canvases on which alignments are compared.
        with_targets: whether the targets count.
    """

    def __init__(self, pair: CanvasPair, *, with_targets: bool) -> None:
        self._pair = pair
        self._with_targets = with_targets and pair.has_targets
        self._structure = structure_measure(pair.fixed.pixels)
        self._information = information_measure(pair.fixed.pixels)

    def of(self, alignment: Alignment) -> float:
        """The agreement, in [0, 1], or with targets in [0, 1.3]; higher is better."""
        agreement = self._similarity(alignment)
        return agreement + _TARGET_WEIGHT * self._dice(alignment) if self._with_targets else agreement

    def distinctness(self, alignment: Alignment) -> float:
        """How much the similarity falls, on average, when an image slips by a fortieth of the canvas.

        Of eight directions. Two images of one body stand out from their neighbours; a mirrored body, another body
        or noise hardly does, however far a registration has climbed.
        """
        slipped = []
        for direction in range(8):
            slip = torch.eye(3, dtype=torch.float64)
            slip[0, 2] = _SLIP * math.cos(direction * math.pi / 4)
            slip[1, 2] = _SLIP * math.sin(direction * math.pi / 4)
            slipped.append(self._similarity(Alignment(alignment.matrix @ slip)))
        return self._similarity(alignment) - sum(slipped) / len(slipped)

    def information(self, alignment: Alignment) -> float:
        """Mutual information in nats: a second opinion, which no stage climbs by default."""
        with torch.no_grad():
            moving = warp(self._pair.moving.pixels[None], alignment.matrix)[0]
            return float(self._information(moving, overlap_weight(self._pair, alignment.matrix)))

    def _similarity(self, alignment: Alignment) -> float:
        with torch.no_grad():
            weight = overlap_weight(self._pair, alignment.matrix)
            if weight.sum() < _MIN_OVERLAP * self._pair.fixed.valid.sum():
                return 0.0
            return float(self._structure(warp(self._pair.moving.pixels[None], alignment.matrix)[0], weight))

    def _dice(self, alignment: Alignment) -> float:
        with torch.no_grad():
            fixed = self._pair.fixed.distances > 0
            moving = warp(self._pair.moving.distances, alignment.matrix) > 0
        both = (fixed & moving).sum(dim=(1, 2))
        return float((2.0 * both / (fixed.sum(dim=(1, 2)) + moving.sum(dim=(1, 2))).clamp(min=1)).mean())
