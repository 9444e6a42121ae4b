"""Whether pairs that cannot be registered are flagged, and pairs that can are not.

    python -m benchmarks.impossible [--purpose development|report] [--types radiograph pseudo diffusion]
        [--model NAME] [--measure NAME] [--good N] [--impossible N] [--pictures FOLDER] [--data FOLDER]

Pairs: `benchmarks/impossible_pairs.py`. Each is registered with a deformable model, no masks, by what serves its type
best on development pairs: ADC and high-b-value MR by mutual information, all else by structure (--model and --measure
take others). A pair counts as flagged where the service raises NO_IMPROVEMENT or LOW_OVERLAP. It does not know which
contrasts it gets, and holds `Standing.evidence` against one limit. Intervals are those of Clopper and Pearson, 95 %.

`--purpose development` prints, per type and of all, what the limit was chosen between: the least evidence of a pair
that was registered and the most of an impossible one. The limit was chosen on 24 good pairs and 8 of each other kind.

A pair that could be registered but was not, its mean error being 3 px or more, is rightly flagged: rows tell the two
apart.

Laterality cannot be inferred: a body that is its own mirror image is registered to its mirror image, and rightly so as
far as any image shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import beta

from benchmarks.case_picture import case_picture, save_picture
from benchmarks.deformable import SAMPLE_DATA, SUCCESS_PX
from benchmarks.generated import outcome_of
from benchmarks.impossible_pairs import Counts, Kind, PairType, Trial, trials
from benchmarks.one_thread import one_thread
from benchmarks.real_slices import Purpose
from benchmarks.registrars.hilum import places_of
from benchmarks.report import machine, save, show
from hilum.registration_options import RegistrationOptions, SimilarityMeasure, TransformModel
from hilum.types import ViewRelation
from hilum.warp import Warp
from services.fusion.registration import Registration, RegistrationOutcome

COUNTS = Counts(good=40, impossible=5)
MEASURES = dict.fromkeys(PairType, SimilarityMeasure.STRUCTURE) | {
    PairType.DIFFUSION: SimilarityMeasure.MUTUAL_INFORMATION
}
FLAGS = frozenset({"NO_IMPROVEMENT", "LOW_OVERLAP"})
_CONFIDENCE = 0.95


def options_for(
    pair_type: PairType, model: TransformModel | None = None, measure: SimilarityMeasure | None = None
) -> RegistrationOptions:
    """How pairs of a type are registered, unless another model or measure is named."""
    return RegistrationOptions(model or TransformModel.DEFORMABLE, measure or MEASURES[pair_type])


OPTIONS = {pair_type: options_for(pair_type) for pair_type in PairType}


@dataclass(frozen=True)
class Verdict:
    """What came of a trial.

    Attributes:
        type: of pair.
        kind: what is wrong with it.
        evidence: that the two show one body, see `Standing`.
        overlap_is_low: whether LOW_OVERLAP was raised.
        flagged: whether the service flagged it, for this or for too little evidence.
        error_px: mean distance to the truth, of good pairs.
    """

    type: PairType
    kind: Kind
    evidence: float
    overlap_is_low: bool
    flagged: bool
    error_px: float | None

    @property
    def registered(self) -> bool:
        """Whether it could be registered, and was."""
        return self.error_px is not None and self.error_px < SUCCESS_PX


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    hits: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's 95 % interval."""
        tail = (1 - _CONFIDENCE) / 2
        low = 0.0 if self.hits == 0 else float(beta.ppf(tail, self.hits, self.of - self.hits + 1))
        high = 1.0 if self.hits == self.of else float(beta.ppf(1 - tail, self.hits + 1, self.of - self.hits))
        return low, high

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.hits}/{self.of} ({low:.0%} to {high:.0%})"


def judge(trial: Trial, options: RegistrationOptions, pictures: Path | None = None) -> Verdict:
    """Register a trial and look at what is said about it; draw it where there is a folder for pictures."""
    outcome = outcome_of(Registration().run(trial.fixed, trial.moving, ViewRelation.COMPARABLE, options))
    flags = set(outcome.flags)
    error_px = _error_px(trial, outcome)
    if pictures is not None:
        told = [trial.name, f"evidence {outcome.standing.evidence:.3f}", *sorted(flags & FLAGS)]
        told += [] if error_px is None else [f"mean error {error_px:.2f} px"]
        places = places_of(outcome, trial.fixed.size)
        picture = case_picture(trial.fixed, trial.moving, places, "; ".join(told))
        save_picture(pictures, f"{trial.type.name.lower()}-{trial.name}", picture)
    return Verdict(
        trial.type,
        trial.kind,
        outcome.standing.evidence,
        "LOW_OVERLAP" in flags,
        bool(flags & FLAGS),
        error_px,
    )


def _error_px(trial: Trial, outcome: RegistrationOutcome) -> float | None:
    if trial.truth is None:
        return None
    field = None if outcome.field is None else outcome.field.displacements
    found = Warp(outcome.fixed_to_moving, field).apply(trial.truth.fixed)
    return float(np.linalg.norm(found - trial.truth.moving, axis=1).mean())


def rows_of(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    """Verdicts by row of a table: good pairs that were registered, those that were not, the other kinds."""
    rows: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        name = verdict.kind.value
        if verdict.kind is Kind.GOOD:
            name = "good, registered" if verdict.registered else "good, not registered"
        rows.setdefault(name, []).append(verdict)
    return rows


def flagged(verdicts: Sequence[Verdict]) -> Share:
    """How many of them the service flags."""
    return Share(sum(verdict.flagged for verdict in verdicts), len(verdicts))


def show_type(pair_type: PairType, options: RegistrationOptions, verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Print a row a kind; figures."""
    title = f"{pair_type.value}, {options.model.name}, by {options.measure.name} ({machine()})"
    table = Table("", "evidence", "flagged", title=title)
    figures = {}
    for name, of_row in rows_of(verdicts).items():
        values = [verdict.evidence for verdict in of_row]
        share = flagged(of_row)
        table.add_row(name, f"{min(values):.3f} to {max(values):.3f}", str(share))
        row = f"{pair_type.name}_{name}".lower().replace(", ", "_").replace(" ", "_")
        figures[f"impossible_{row}_flagged"] = share.hits / share.of
    Console(width=120).print(table)
    errors = [verdict.error_px for verdict in verdicts if verdict.error_px is not None]
    if errors:
        print(
            f"good pairs: mean error {np.mean(errors):.2f} px, median {np.median(errors):.2f} px, "
            f"largest of the means {max(errors):.2f} px"
        )
        figures[f"impossible_{pair_type.name}_good_error_px".lower()] = float(np.mean(errors))
    return figures


def gap(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """The most evidence of an impossible pair and the least of one that was registered; a limit belongs in between.

    Those whose overlap is low are left out: they are flagged anyway.
    """
    good = [verdict.evidence for verdict in verdicts if verdict.registered]
    other = [verdict.evidence for verdict in verdicts if verdict.kind is not Kind.GOOD and not verdict.overlap_is_low]
    return max(other), min(good)


def show_gap(name: str, verdicts: Sequence[Verdict]) -> None:
    """Print it."""
    other, good = gap(verdicts)
    print(f"{name}: impossible pairs reach {other:.4f}, registered ones {good:.4f} at least")


@one_thread()
def measure(
    purpose: Purpose = Purpose.REPORT,
    counts: Counts = COUNTS,
    data: Path = SAMPLE_DATA,
    options: Mapping[PairType, RegistrationOptions] = OPTIONS,
    pictures: Path | None = None,
) -> dict[str, float]:
    """Judge all trials of the types that have options; without the sample data, say so and measure nothing."""
    if not data.is_dir():
        print(f"skipped: there is no sample data in {data}; name its folder with --data")
        return {}
    verdicts = [judge(trial, options[trial.type], pictures) for trial in trials(purpose, data, counts, options)]
    figures: dict[str, float] = {}
    for pair_type in options:
        of_type = [verdict for verdict in verdicts if verdict.type is pair_type]
        figures |= show_type(pair_type, options[pair_type], of_type)
        if purpose is Purpose.DEVELOPMENT:
            show_gap(pair_type.value, of_type)
    if purpose is Purpose.DEVELOPMENT:
        show_gap("all", verdicts)
    for name, of_name in {
        "registered": [verdict for verdict in verdicts if verdict.registered],
        "not_registered": [verdict for verdict in verdicts if verdict.kind is Kind.GOOD and not verdict.registered],
        "impossible": [verdict for verdict in verdicts if verdict.kind is not Kind.GOOD],
    }.items():
        if of_name:
            share = flagged(of_name)
            print(f"{name.replace('_', ' ')}: flagged {share}")
            figures[f"impossible_{name}_flagged"] = share.hits / share.of
    return figures


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--purpose", choices=[purpose.value for purpose in Purpose], default=Purpose.REPORT.value)
    names = {pair_type.name.lower(): pair_type for pair_type in PairType}
    parser.add_argument("--types", nargs="+", choices=list(names), default=list(names))
    parser.add_argument("--model", choices=[model.name for model in TransformModel])
    parser.add_argument("--measure", choices=[measure.name for measure in SimilarityMeasure])
    parser.add_argument("--good", type=int, default=COUNTS.good, help="good pairs of each type")
    parser.add_argument("--impossible", type=int, default=COUNTS.impossible, help="of each kind and type")
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each case")
    options = parser.parse_args()
    purpose = Purpose(options.purpose)
    model = options.model and TransformModel[options.model]
    measured = options.measure and SimilarityMeasure[options.measure]
    asked = {names[name]: options_for(names[name], model, measured) for name in options.types}
    figures = measure(purpose, Counts(options.good, options.impossible), options.data, asked, options.pictures)
    if purpose is Purpose.REPORT and figures and not (options.model or options.measure):
        show("impossible", figures)
        save(figures)


if __name__ == "__main__":
    main()
