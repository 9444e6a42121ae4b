"""How well two images agree under an alignment: the yardstick that every stage is judged by."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.similarity import information_measure, overlap_weight, structure_measure
from services.fusion.registration.workspace import CanvasPair

_MIN_OVERLAP = 0.1
# Outlines decide between alignments that look alike, but a wrong outline must not outvote clear images.
_TARGET_WEIGHT = 0.3
# The same holds for points; a pair that lies this far apart in working units is worth .6 of one that meets.
_LANDMARK_WEIGHT = 0.3
_LANDMARK_REACH = 0.04
_SLIP = 0.05
# Mutual information, in nats, that noise alone reaches. It keeps quotients of next to nothing near one.
_NOISE = 0.01


class Judge(Protocol):
    """Compares alignments of two images."""

    def of(self, alignment: Alignment) -> float:
        """How good an alignment is; higher is better."""


def lead(information: float, other: float) -> float:
    """By how much more two images share under one alignment: ln((I + .01) / (the other's I + .01)), I in nats."""
    return math.log((information + _NOISE) / (other + _NOISE))


class Information:
    """Mutual information at one resolution, in nats: a second opinion, which no stage climbs by default.

    Args:
        pair: the canvases on which alignments are compared.
    """

    def __init__(self, pair: CanvasPair) -> None:
        self._pair = pair
        self._measure = information_measure(pair.fixed.pixels)

    def of(self, alignment: Alignment) -> float:
        """The mutual information."""
        with torch.no_grad():
            grid = alignment.sampling_grid(self._pair.size)
            moving = warp(self._pair.moving.pixels[None], grid)[0]
            return float(self._measure(moving, overlap_weight(self._pair, grid)))


class Agreement:
    """Similarity of structure at one resolution, plus .3 times the mean Dice of the targets where there are any.

    Landmarks that meet add .3, too.

    An alignment under which less than a tenth of the fixed image meets the moving one agrees by 0.

    Args:
        pair: the canvases on which alignments are compared.
        with_targets: whether the targets count.
    """

    def __init__(self, pair: CanvasPair, *, with_targets: bool) -> None:
        self._pair = pair
        self._with_targets = with_targets and pair.has_targets
        self._structure = structure_measure(pair.fixed.pixels)
        self._information = Information(pair)
        self._of_images: dict[Alignment, float] = {}

    def of(self, alignment: Alignment) -> float:
        """The agreement, in [0, 1], with targets or landmarks up to .3 more for each; higher is better."""
        agreement = self.of_images(alignment)
        if self._with_targets:
            agreement += _TARGET_WEIGHT * float(self.target_dice(alignment).mean())
        if len(self._pair.landmarks):
            agreement += _LANDMARK_WEIGHT * self._meeting(alignment)
        return agreement

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
            slipped.append(self._measured(replace(alignment, matrix=alignment.matrix @ slip)))
        return self.of_images(alignment) - sum(slipped) / len(slipped)

    def information(self, alignment: Alignment) -> float:
        """Mutual information in nats."""
        return self._information.of(alignment)

    def of_images(self, alignment: Alignment) -> float:
        """The agreement of the images alone, in [0, 1]; taken once for each alignment object."""
        if alignment not in self._of_images:
            self._of_images[alignment] = self._measured(alignment)
        return self._of_images[alignment]

    def _measured(self, alignment: Alignment) -> float:
        with torch.no_grad():
            grid = alignment.sampling_grid(self._pair.size)
            weight = overlap_weight(self._pair, grid)
            if weight.sum() < _MIN_OVERLAP * self._pair.fixed.valid.sum():
                return 0.0
            return float(self._structure(warp(self._pair.moving.pixels[None], grid)[0], weight))

    def target_dice(self, alignment: Alignment) -> Tensor:
        """(targets,): Dice of each target."""
        with torch.no_grad():
            fixed = self._pair.fixed.distances > 0
            moving = warp(self._pair.moving.distances, alignment.sampling_grid(self._pair.size)) > 0
        both = (fixed & moving).sum(dim=(1, 2))
        return 2.0 * both / (fixed.sum(dim=(1, 2)) + moving.sum(dim=(1, 2))).clamp(min=1)

    def _meeting(self, alignment: Alignment) -> float:
        squared = self._pair.landmarks.missing(alignment).square().sum(dim=1)
        return float((self._pair.landmarks.shares * torch.exp(-squared / (2.0 * _LANDMARK_REACH**2))).sum())
