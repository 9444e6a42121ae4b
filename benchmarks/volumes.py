"""How well and how fast two volumes are registered, in three dimensions.

    python -m benchmarks.volumes [--purpose development] [--kinds ct pseudo] [--data FOLDER] [--picture FILE]

Real volumes of up to 128 x 128 x 128 voxels are turned by up to 10 degrees about a random axis, stretched by up to 8 %
along and shifted by up to 8 % of their longest side along each axis, and bent by a cubic B-spline whose largest
displacement is 2.4 to 4.8 % of it (see volume_pairs). Errors are distances in mm over the body, between where the
transform and the truth put its voxels; means of the cases' means. Pairs that cannot be registered show whether that is
told: a mirrored body, and another subject.

Settings and the limit of distinctness were chosen on the development volumes and seeds; the report has others.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.one_thread import one_thread
from benchmarks.real_slices import Purpose
from benchmarks.report import machine, save, show
from benchmarks.volume_pairs import KINDS, SEEDS, Subject, VolumePair, known_pair, subjects
from benchmarks.volume_picture import draw
from hilum.geometry import Float
from hilum.registration_options import TransformModel
from hilum.volume_registration import VolumeRegistrationOptions
from hilum.warp import Warp
from services.fusion.volume_registration import VolumeOutcome, VolumeRegistration

SAMPLE_DATA = Path("../shared/data")
_WIDTH = 140


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """One registration of one pair.

    Attributes:
        pair: what was registered.
        outcome: what was found.
        start_mm: error of every point of the body before, as the voxels lie on each other.
        error_mm: after.
        wall_s: wall seconds.
        cpu_s: processor seconds.
        longest_step_s: longest wall time between two yields, after which a cancelled caller is free.
        longest_step_cpu_s: the same in processor seconds.
    """

    pair: VolumePair
    outcome: VolumeOutcome
    start_mm: Float
    error_mm: Float
    wall_s: float
    cpu_s: float
    longest_step_s: float
    longest_step_cpu_s: float

    @property
    def doubted(self) -> bool:
        """Whether a flag says that the two may not show the same body."""
        return bool({"NO_IMPROVEMENT", "LOW_OVERLAP"} & set(self.outcome.flags))


def register(pair: VolumePair, model: TransformModel = TransformModel.DEFORMABLE) -> VolumeCase:
    """Register one pair and measure it against the truth."""
    wall, cpu = time.perf_counter(), time.process_time()
    run = VolumeRegistration().run(pair.fixed, pair.moving, VolumeRegistrationOptions(model=model))
    outcome: VolumeOutcome | None = None
    longest, last = (0.0, 0.0), (wall, cpu)
    while outcome is None:
        try:
            next(run)
        except StopIteration as finished:
            outcome = finished.value
        now = time.perf_counter(), time.process_time()
        longest, last = (max(longest[0], now[0] - last[0]), max(longest[1], now[1] - last[1])), now
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = warp_of(outcome).apply(pair.points)
    case = VolumeCase(pair, outcome, pair.errors_mm(pair.points), pair.errors_mm(found), wall, cpu, *longest)
    print(f"{pair.name}: {case.error_mm.mean():.3f} mm, {cpu:.1f} CPU s", flush=True)
    return case


def warp_of(outcome: VolumeOutcome) -> Warp:
    """What the outcome does to fixed voxels."""
    return Warp(outcome.fixed_to_moving, None if outcome.field is None else outcome.field.displacements)


def summary(cases: Sequence[VolumeCase]) -> dict[str, float]:
    """Figures of a set of cases."""
    fields = [case.outcome.field for case in cases if case.outcome.field is not None]
    return {
        "start_mm": statistics.mean(float(case.start_mm.mean()) for case in cases),
        "tre_mean_mm": statistics.mean(float(case.error_mm.mean()) for case in cases),
        "tre_p95_mm": statistics.mean(float(np.percentile(case.error_mm, 95)) for case in cases),
        "tre_max_mm": max(float(case.error_mm.max()) for case in cases),
        "folding_fraction": max((field.folding_fraction for field in fields), default=0.0),
        "least_jacobian": min((field.jacobian_range[0] for field in fields), default=1.0),
        "inverse_residual_mm": max((field.inverse_residual_mm for field in fields), default=0.0),
        "wrongly_doubted": float(sum(case.doubted for case in cases)),
        "seconds": statistics.median(case.wall_s for case in cases),
        "cpu_seconds": statistics.median(case.cpu_s for case in cases),
        "longest_step_s": max(case.longest_step_s for case in cases),
        "longest_step_cpu_s": max(case.longest_step_cpu_s for case in cases),
    }


_COLUMNS = {
    "start_mm": "start",
    "tre_mean_mm": "mean",
    "tre_p95_mm": "p95",
    "tre_max_mm": "max",
    "folding_fraction": "folds",
    "least_jacobian": "least J",
    "inverse_residual_mm": "inverse",
    "wrongly_doubted": "doubted",
    "seconds": "s",
    "cpu_seconds": "CPU s",
    "longest_step_s": "step s",
    "longest_step_cpu_s": "step CPU s",
}


def _show_sets(sets: dict[str, list[VolumeCase]]) -> None:
    table = Table(title=f"Registration of volumes, deformable, lengths in mm ({machine()})")
    for column in ("pairs", "n", *_COLUMNS.values()):
        table.add_column(column, justify="left" if column == "pairs" else "right")
    for name, cases in sets.items():
        figures = summary(cases)
        table.add_row(name, str(len(cases)), *(f"{figures[key]:.3g}" for key in _COLUMNS))
    Console(width=_WIDTH).print(table)


def _show_cases(title: str, cases: Sequence[VolumeCase]) -> None:
    table = Table(title=title)
    for column in ("pair", "start", "mean", "p95", "max", "distinct", "overlap", "CPU s", "flags, dropped stages"):
        table.add_column(column, justify="left" if column in {"pair", "flags, dropped stages"} else "right")
    for case in cases:
        outcome = case.outcome
        numbers = (
            case.start_mm.mean(),
            case.error_mm.mean(),
            np.percentile(case.error_mm, 95),
            case.error_mm.max(),
            outcome.distinctness,
            outcome.overlap_fraction,
            case.cpu_s,
        )
        dropped = [f"-{stage.stage}" for stage in outcome.stages if not stage.accepted]
        table.add_row(case.pair.name, *(f"{number:.3g}" for number in numbers), ", ".join([*outcome.flags, *dropped]))
    Console(width=_WIDTH).print(table)


def _impossible(people: Sequence[Subject], kinds: Sequence[str], seed: int) -> list[VolumeCase]:
    """Pairs that no transform registers: mirrored bodies, and other subjects."""
    pairs = [(subject, subject.mirrored()) for subject in people]
    pairs += list(zip(people, reversed(people), strict=True))
    return [register(known_pair(seen, shown, kinds[-1], seed)) for seen, shown in pairs]


@one_thread()
def measure(
    purpose: Purpose = Purpose.REPORT,
    kinds: Sequence[str] = KINDS,
    data: Path = SAMPLE_DATA,
    picture: Path | None = None,
) -> dict[str, float]:
    """Measure all kinds of pairs; without the sample data, say so and measure nothing."""
    if not data.is_dir():
        Console().print(f"skipped: there is no sample data in {data}; name its folder with --data")
        return {}
    people = subjects(purpose, data)
    sets = {
        f"{subject.name} {kind}": [register(known_pair(subject, subject, kind, seed)) for seed in SEEDS[purpose]]
        for subject in people
        for kind in kinds
    }
    _show_cases("Pairs of one body, deformable, lengths in mm", [case for cases in sets.values() for case in cases])
    _show_sets(sets)
    strangers = _impossible(people, kinds, SEEDS[purpose][0])
    _show_cases("Pairs that cannot be registered", strangers)
    flagged = sum(case.doubted for case in strangers)
    print(f"pairs that cannot be registered: {flagged} of {len(strangers)} flagged")
    if picture is not None:
        first = sets[f"{people[0].name} {kinds[-1]}"][0]
        draw(first.pair, warp_of(first.outcome), picture)
    figures = {
        f"volumes_{name.replace(' ', '_')}_{figure}": value
        for name, cases in sets.items()
        for figure, value in summary(cases).items()
    }
    return figures | {"volumes_impossible_flagged": flagged / len(strangers)}


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--purpose", choices=[purpose.value for purpose in Purpose], default=Purpose.REPORT.value)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    parser.add_argument("--picture", type=Path, help="where to draw the first pair before and after, in three planes")
    options = parser.parse_args()
    figures = measure(Purpose(options.purpose), options.kinds, options.data, options.picture)
    if options.purpose == Purpose.REPORT.value and figures:
        show("volumes", figures)
        save(figures)


if __name__ == "__main__":
    main()
