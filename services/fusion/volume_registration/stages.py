"""The stages of a registration of volumes: each takes an alignment and proposes a better one, a step at a time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol

from services.fusion.registration.alignment import Candidate
from services.fusion.registration.stages import Span, Step, climbed
from services.fusion.volume_registration.affine import AffineLevel, refine_affine
from services.fusion.volume_registration.agreement import Agreement
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.free_form import FreeFormLevel, refine_free_form
from services.fusion.volume_registration.search import SearchGrid, search
from services.fusion.volume_registration.workspace import Workspace

Steps = Generator[Step | None, None, Alignment]
"""Yields after each piece of work, so that the caller can stop, None where nothing is new; returns the proposal."""


class Stage(Protocol):
    """A part of a registration that proposes an alignment; whether it is kept is decided elsewhere."""

    @property
    def name(self) -> str:
        """The name in progress and reports."""

    @property
    def share(self) -> float:
        """Roughly how long it takes, in any unit that all stages share."""

    def run(self, workspace: Workspace, start: Alignment, agreement: Agreement) -> Steps:
        """Improve on `start`."""


@dataclass(frozen=True)
class SearchStage:
    """Finds the neighbourhood of the answer.

    The best alignments of the grid search, the start, and the place that patient coordinates say are refined briefly;
    the one that then agrees best is proposed.

    Attributes:
        size: canvas side of the search.
        grid: what is tried.
        refinement: how the best are refined.
        in_place: consider patient coordinates: the two volumes share a frame of reference.
        keep: how many of the grid are refined.
    """

    size: int
    grid: SearchGrid
    refinement: AffineLevel
    in_place: bool
    keep: int = 3
    name: str = "search"
    share: float = 1.5

    def run(self, workspace: Workspace, start: Alignment, agreement: Agreement) -> Steps:
        """Propose the best."""
        pair = workspace.at(self.size)
        starts = [start, workspace.in_place()] if self.in_place else [start]
        total, done = len(self.grid.turns_deg) + self.keep + len(starts), 0
        found: list[Candidate[Alignment]] = []
        for candidate in search(pair, self.grid):
            found.append(candidate)
            done += 1
            yield Step(done / total, max(each.similarity for each in found))
        found.sort(key=lambda each: -each.similarity)
        starts += [each.alignment for each in found[: self.keep]]
        best, best_agreement = start, -1.0
        for begun in starts:
            reached = yield from climbed(refine_affine(pair, begun, self.refinement), Span(done / total, done / total))
            done += 1
            agreed = agreement.of(reached)
            yield None
            if agreed > best_agreement:
                best, best_agreement = reached, agreed
        yield Step(1.0, best_agreement)
        return best


@dataclass(frozen=True)
class AffineStage:
    """Refines an affine alignment from coarse to fine."""

    levels: tuple[AffineLevel, ...]
    name: str = "affine"
    share: float = 1.5

    def run(self, workspace: Workspace, start: Alignment, agreement: Agreement) -> Steps:
        """Propose what the finest level reaches; `agreement` is not used."""
        alignment = replace(start, deformation=None)
        for index, level in enumerate(self.levels):
            span = Span(index / len(self.levels), (index + 1) / len(self.levels), level.steps)
            alignment = yield from climbed(refine_affine(workspace.at(level.size), alignment, level), span)
        return alignment


@dataclass(frozen=True)
class FreeFormStage:
    """Bends at one level."""

    level: FreeFormLevel
    name: str
    share: float

    def run(self, workspace: Workspace, start: Alignment, agreement: Agreement) -> Steps:
        """Propose what the level reaches; `agreement` is not used."""
        climb = refine_free_form(workspace.at(self.level.size), start, self.level)
        return (yield from climbed(climb, Span(0.0, 1.0, self.level.steps)))
