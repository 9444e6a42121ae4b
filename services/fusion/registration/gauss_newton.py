"""Gauss-Newton: climbing what a quadratic model describes well, with steps that are shortened until they climb."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from services.fusion.registration.alignment import Aligned, Candidate
from services.fusion.registration.comparison import Comparison
from services.fusion.stepping import Work

_HALVINGS = 4
# Noise looks like structure to the model, which makes it too stiff: steps are stretched as long as that climbs.
_FIRST_STRETCH, _STRETCH_GROWTH, _LARGEST_STRETCH, _LEAST_STRETCH = 1.5, 1.5, 3.0, 0.5
# Descriptors say nothing about what lies farther off than this many canvas pixels.
_LONGEST_STEP_PX = 4.0


_Seen_co = TypeVar("_Seen_co", covariant=True)


class Standing(Protocol[_Seen_co]):
    """An alignment that a problem has looked at."""

    @property
    def alignment(self) -> _Seen_co:
        """Where."""

    @property
    def objective(self) -> float:
        """What is climbed: similarity and all that is wished besides; higher is better."""

    @property
    def similarity(self) -> float:
        """Of the images alone."""

    def step(self) -> Work[Tensor | None]:
        """The step that would climb highest if the model around here were true; None where the model has no top."""


class Problem(Protocol[Aligned]):
    """What is to be climbed, over some way of changing an alignment, of images or of volumes."""

    def look(self, alignment: Aligned) -> Work[Standing[Aligned]]:
        """Measure an alignment."""

    def stepped(self, alignment: Aligned, step: Tensor, longest: float) -> Aligned | None:
        """The alignment after a step, cut to move no point by more than `longest` working units; None if it folds."""


@dataclass(frozen=True)
class Descent:
    """How long to climb.

    Attributes:
        steps: at most.
        enough: ends where a step gains less than this.
    """

    steps: int
    enough: float


Climb: TypeAlias = Generator[Candidate[Aligned] | None, None, Candidate[Aligned]]
"""Yields where it stands after each look, from the start on, and None after other pieces of work; returns the best."""


def climb(problem: Problem[Aligned], start: Aligned, size: int, descent: Descent) -> Climb[Aligned]:
    """Climb.

    Args:
        problem: what is climbed.
        start: where to begin.
        size: side of the canvas in pixels.
        descent: when to stop.
    """
    standing = yield from problem.look(start)
    reached = Candidate(standing.alignment, standing.similarity)
    yield reached
    stretch = _FIRST_STRETCH
    for _ in range(descent.steps):
        step = yield from standing.step()
        if step is None:
            return reached
        before = standing.objective
        for halving in range(_HALVINGS + 1):
            proposal = problem.stepped(standing.alignment, step * stretch, _LONGEST_STEP_PX * 2.0 / size)
            looked = (yield from problem.look(proposal)) if proposal is not None else None
            better = looked is not None and looked.objective > before
            if looked is not None and better:
                standing = looked
                reached = Candidate(standing.alignment, standing.similarity)
            yield reached
            if better:
                stretch = min(stretch * _STRETCH_GROWTH, _LARGEST_STRETCH) if halving == 0 else stretch
                break
            stretch /= 2.0
        if standing.objective < before + descent.enough:
            return reached
        stretch = max(stretch, _LEAST_STRETCH)
    return reached


def normal_fields(comparison: Comparison) -> tuple[Tensor, Tensor]:
    """What each pixel asks for.

    Where a comparison allows it, slopes are taken halfway between the channels as they are and as they should be: such
    steps converge faster, and noise, which the two images do not share, is less taken for structure.

    Benhimane and Malis, "Real-time image-based tracking of planes using efficient second-order minimization", 2004.

    Args:
        comparison: of n x n pixels.

    Returns:
        The symmetric matrices (3, n, n), xx, xy and yy, and the forces (2, n, n).
    """
    channels = comparison.channels + 0.5 * comparison.residual if comparison.halfway else comparison.channels
    slopes = channel_slopes(channels)
    weighted = slopes * (comparison.weight if comparison.weight.dim() == 2 else comparison.weight[:, None])
    matrices, products = slopes.new_empty(3, *slopes.shape[2:]), torch.empty_like(slopes[:, 0])
    for matrix, (one, other) in zip(matrices, ((0, 0), (0, 1), (1, 1)), strict=True):
        torch.sum(torch.mul(weighted[:, one], slopes[:, other], out=products), 0, out=matrix)
    return matrices, weighted.mul_(comparison.residual[:, None]).sum(0)


def channel_slopes(channels: Tensor) -> Tensor:
    """(c, 2, n, n): derivatives of channels (c, n, n) along x and y by working units, central differences."""
    size = channels.shape[-1]
    padded = torch.nn.functional.pad(channels[None], (1, 1, 1, 1), mode="replicate")[0]
    slopes = channels.new_empty(len(channels), 2, size, size)
    torch.sub(padded[:, 1:-1, 2:], padded[:, 1:-1, :-2], out=slopes[:, 0])
    torch.sub(padded[:, 2:, 1:-1], padded[:, :-2, 1:-1], out=slopes[:, 1])
    return slopes.mul_(size / 4.0)
