"""The stages of a registration: each takes an alignment and proposes a better one, a step at a time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from services.fusion.registration.affine import AffineLevel, refine_affine
from services.fusion.registration.agreement import Agreement
from services.fusion.registration.alignment import Alignment, Candidate
from services.fusion.registration.search import SearchGrid, search
from services.fusion.registration.workspace import Workspace


@dataclass(frozen=True)
class Step:
    """What a stage has done so far.

    Attributes:
        fraction: of the stage's work, in [0, 1].
        similarity: of the images now; comparable within one level of a stage.
    """

    fraction: float
    similarity: float


Steps = Generator[Step, None, Alignment]
"""Yields after each piece of work, so that the caller can report and stop; returns the proposal."""


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
    """Finds the neighbourhood of the answer without a start.

    The best alignments of the grid search are refined briefly; the one that then agrees best is proposed.

    Attributes:
        size: canvas side of the search.
        grid: what is tried.
        from_targets: also search around the targets' centroids.
        keep: how many are refined.
        refinement: how.
    """

    size: int
    grid: SearchGrid
    refinement: AffineLevel
    from_targets: bool = False
    keep: int = 3
    name: str = "search"
    share: float = 1.0

    def run(self, workspace: Workspace, start: Alignment, agreement: Agreement) -> Steps:
        """Propose the best of the grid; `start` is not used."""
        pair = workspace.at(self.size)
        modes = (False, True) if self.from_targets and pair.has_targets else (False,)
        total = len(modes) * (len(self.grid.scales) + self.keep * (self.refinement.iterations + 1))
        done = 0
        starts: list[Candidate] = []
        for from_targets in modes:
            found: list[Candidate] = []
            for candidates in search(pair, self.grid, from_targets=from_targets):
                found += candidates
                done += 1
                yield Step(done / total, max(candidate.similarity for candidate in found))
            starts += sorted(found, key=lambda candidate: -candidate.similarity)[: self.keep]
        best, best_agreement = start, -1.0
        for candidate in starts:
            refined = candidate
            for reached in refine_affine(pair, candidate.alignment, self.refinement):
                refined, done = reached, done + 1
                yield Step(done / total, reached.similarity)
            agreed = agreement.of(refined.alignment)
            if agreed > best_agreement:
                best, best_agreement = refined.alignment, agreed
        return best


@dataclass(frozen=True)
class AffineStage:
    """Refines from coarse to fine."""

    levels: tuple[AffineLevel, ...]
    name: str = "affine"
    share: float = 4.0

    def run(self, workspace: Workspace, start: Alignment, agreement: Agreement) -> Steps:
        """Propose what the finest level reaches; `agreement` is not used."""
        work = [level.iterations * level.size for level in self.levels]
        alignment = proposal = start
        for index, level in enumerate(self.levels):
            for done, reached in enumerate(refine_affine(workspace.at(level.size), alignment, level)):
                proposal = reached.alignment
                yield Step((sum(work[:index]) + done * level.size) / sum(work), reached.similarity)
            alignment = proposal
        return alignment
