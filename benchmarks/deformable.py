"""How well and how fast bent bodies are registered, on pairs whose deformation is known exactly.

    python -m benchmarks.deformable [--purpose development|report] [--kinds a a-tilted b] [--methods NAME ...]
        [--radiographs N] [--reversed] [--pictures FOLDER] [--data FOLDER]

Kind (a) is the projection of a CT against a simulated X-ray of the moved and bent body, kind (b) a real slice seen
through a pseudo-modality against the moved and bent slice. Kind (a-tilted) turns the body of (a) out of the plane,
too, so that no planar map is right at all depths. See `benchmarks/deformable_pairs.py`, which also says which patients
and seeds settings were chosen on and which are only reported. The error of a case is the distance, in pixels of the
moving image, between where the registration and the truth put each pixel of the fixed image's body. No masks. With
--reversed the two images change places: the error is then the distance, in pixels of what was the fixed image, between
each pixel of its body and where the registration takes the place that the truth has for it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.case_picture import case_picture, said, save_picture
from benchmarks.deformable_pairs import KnownPair, pseudo_pairs, radiograph_pairs
from benchmarks.generated import outcome_of
from benchmarks.one_thread import one_thread
from benchmarks.real_slices import Purpose
from benchmarks.registrars.hilum import places_of
from benchmarks.report import machine, save, show
from benchmarks.velocity_field import velocity_stages
from examples.demo.known_warp import pixel_grid
from hilum.registration_options import RegistrationOptions, SimilarityMeasure, TransformModel
from hilum.types import RegistrationProgress, ViewRelation
from hilum.warp import Warp
from services.fusion.registration import Registration, RegistrationOutcome
from services.fusion.registration.plan import image_stages
from services.fusion.registration.registration import Plan

SAMPLE_DATA = Path("../shared/data")
RADIOGRAPHS = 20
KINDS = ("a", "a-tilted", "b")
SUCCESS_PX = 3.0
METHODS = {
    "affine": RegistrationOptions(model=TransformModel.AFFINE),
    "deformable": RegistrationOptions(model=TransformModel.DEFORMABLE),
    "deformable, mutual information": RegistrationOptions(
        model=TransformModel.DEFORMABLE, measure=SimilarityMeasure.MUTUAL_INFORMATION
    ),
    "deformable, Match_Loss": RegistrationOptions(
        model=TransformModel.DEFORMABLE, measure=SimilarityMeasure.MATCH_LOSS
    ),
}
# Methods that go through other stages than the registration's own.
PLANS: dict[str, Plan] = {
    "velocity field": partial(velocity_stages, 1.0),
    "velocity field, half as stiff": partial(velocity_stages, 0.5),
}
METHODS |= dict.fromkeys(PLANS, METHODS["deformable"])
DEFAULT = "deformable"


@dataclass(frozen=True, eq=False)
class Case:
    """One registration of one pair.

    Attributes:
        pair: what was registered.
        outcome: what was found.
        error_px: of every fixed pixel, (height, width).
        wall_s: wall seconds.
        cpu_s: processor seconds.
        longest_step_s: longest time between two yields, after which a cancelled caller is free.
        longest_step_cpu_s: the same in processor seconds.
    """

    pair: KnownPair
    outcome: RegistrationOutcome
    error_px: NDArray[np.float64]
    wall_s: float
    cpu_s: float
    longest_step_s: float
    longest_step_cpu_s: float

    @property
    def body_px(self) -> NDArray[np.float64]:
        """Errors over the body, (n,)."""
        return self.error_px[self.pair.body]


def register(pair: KnownPair, method: str) -> Case:
    """Register one pair and measure it against the truth."""
    registration = Registration(plan=PLANS.get(method, image_stages))
    wall, cpu = time.perf_counter(), time.process_time()
    run = registration.run(pair.fixed, pair.moving, ViewRelation.COMPARABLE, METHODS[method])
    outcome: RegistrationOutcome | None = None
    longest, last = np.zeros(2), np.array([wall, cpu])
    while outcome is None:
        try:
            step: RegistrationProgress = next(run)
            del step
        except StopIteration as finished:
            outcome = finished.value
        now = np.array([time.perf_counter(), time.process_time()])
        longest, last = np.maximum(longest, now - last), now
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Case(pair, outcome, errors_px(pair, outcome), wall, cpu, float(longest[0]), float(longest[1]))


def reversed_errors_px(pair: KnownPair) -> NDArray[np.float64]:
    """Errors over the body, (n,), in fixed pixels, of registering the moving image, as the fixed one, to the fixed."""
    run = Registration().run(pair.moving, pair.fixed, ViewRelation.COMPARABLE, METHODS[DEFAULT])
    outcome = outcome_of(run)
    field = outcome.field.displacements if outcome.field is not None else None
    y, x = np.nonzero(pair.body)
    found = Warp(outcome.fixed_to_moving, field).apply(pair.truth[pair.body])
    return np.asarray(np.linalg.norm(found - np.stack([x, y], axis=1), axis=1), np.float64)


def measure_reversed(kind: str, pairs: Sequence[KnownPair]) -> dict[str, float]:
    """Register all pairs of a kind the other way round by the default method, print, and return figures."""
    cases = [reversed_errors_px(pair) for pair in pairs]
    means = [float(errors.mean()) for errors in cases]
    figures = {
        "tre_mean_px": statistics.mean(means),
        "tre_p95_px": statistics.mean(float(np.percentile(errors, 95)) for errors in cases),
        "success": statistics.mean(mean < SUCCESS_PX for mean in means),
    }
    print(
        f"Kind ({kind}) reversed, {DEFAULT}: {len(pairs)} pairs, mean {figures['tre_mean_px']:.3f} px, "
        f"p95 {figures['tre_p95_px']:.3f} px, worst mean {max(means):.3f} px, < 3 px: {figures['success']:.0%}"
    )
    return {f"deformable_{kind}_reversed_{name}": value for name, value in figures.items()}


def errors_px(pair: KnownPair, outcome: RegistrationOutcome) -> NDArray[np.float64]:
    """(height, width): distance in moving pixels between where the outcome and the truth put each fixed pixel."""
    return np.asarray(np.linalg.norm(places_of(outcome, pair.fixed.size) - pair.truth, axis=-1), np.float64)


def start_px(pair: KnownPair) -> float:
    """Mean error over the body before anything is done."""
    return float(np.linalg.norm(pair.truth - pixel_grid(pair.fixed.size), axis=-1)[pair.body].mean())


def summary(cases: Sequence[Case]) -> dict[str, float]:
    """Figures of a set of cases; the mean is that of the cases' means."""
    means = [float(case.body_px.mean()) for case in cases]
    fields = [case.outcome.field for case in cases if case.outcome.field is not None]
    return {
        "tre_mean_px": statistics.mean(means),
        "tre_p95_px": statistics.mean(float(np.percentile(case.body_px, 95)) for case in cases),
        "tre_p95_all_pixels_px": float(np.percentile(np.concatenate([case.body_px for case in cases]), 95)),
        "tre_max_px": max(float(case.body_px.max()) for case in cases),
        "success": statistics.mean(mean < SUCCESS_PX for mean in means),
        "folding_fraction": max((field.folding_fraction for field in fields), default=0.0),
        "least_jacobian": min((field.jacobian_range[0] for field in fields), default=1.0),
        "inverse_residual_px": max((field.inverse_residual_px for field in fields), default=0.0),
        "flagged": statistics.mean(bool(case.outcome.flags) for case in cases),
        "match_loss_after": statistics.mean(case.outcome.after.match_loss for case in cases),
        "seconds": statistics.median(case.wall_s for case in cases),
        "cpu_seconds": statistics.median(case.cpu_s for case in cases),
        "longest_step_s": max(case.longest_step_s for case in cases),
    }


_COLUMNS = {
    "tre_mean_px": "mean",
    "tre_p95_px": "p95",
    "tre_p95_all_pixels_px": "p95 all",
    "tre_max_px": "max",
    "success": "< 3 px",
    "folding_fraction": "folds",
    "least_jacobian": "least J",
    "inverse_residual_px": "inverse",
    "flagged": "flagged",
    "match_loss_after": "Match_Loss",
    "seconds": "s",
    "cpu_seconds": "CPU s",
    "longest_step_s": "step s",
}


def show_methods(title: str, pairs: Sequence[KnownPair], found: dict[str, list[Case]]) -> None:
    """Print a row a method."""
    start = statistics.mean(start_px(pair) for pair in pairs)
    table = Table(title=f"{title}: {len(pairs)} pairs, start {start:.1f} px ({machine()})")
    table.add_column("method")
    for column in _COLUMNS.values():
        table.add_column(column, justify="right")
    for name, cases in found.items():
        figures = summary(cases)
        table.add_row(name, *(f"{figures[key]:.3f}" for key in _COLUMNS))
    Console(width=150).print(table)


def show_cases(title: str, cases: Iterable[Case]) -> None:
    """Print a row a case."""
    table = Table(title=title)
    table.add_column("pair")
    for column in ("start", "mean", "p95", "max", "least J", "distinct", "s"):
        table.add_column(column, justify="right")
    table.add_column("flags, dropped stages")
    for case in cases:
        outcome, field = case.outcome, case.outcome.field
        dropped = [f"-{stage.stage}" for stage in outcome.stages if not stage.accepted]
        figures = (
            start_px(case.pair),
            case.body_px.mean(),
            np.percentile(case.body_px, 95),
            case.body_px.max(),
            field.jacobian_range[0] if field is not None else 1.0,
            outcome.standing.distinctness,
            case.wall_s,
        )
        table.add_row(case.pair.name, *(f"{figure:.2f}" for figure in figures), ", ".join([*outcome.flags, *dropped]))
    Console(width=150).print(table)


def measure_kind(
    kind: str, pairs: Sequence[KnownPair], methods: Sequence[str], pictures: Path | None
) -> dict[str, float]:
    """Register all pairs of a kind by all methods, print, draw, and return the default's figures."""
    # The first registration of a process also pays for torch's start.
    register(pairs[0], DEFAULT)
    found = {name: [register(pair, name) for pair in pairs] for name in methods}
    show_methods(f"Kind ({kind})", pairs, found)
    figures: dict[str, float] = {}
    if DEFAULT in found:
        show_cases(f"Kind ({kind}), {DEFAULT}", found[DEFAULT])
        figures = {f"deformable_{kind}_{name}": value for name, value in summary(found[DEFAULT]).items()}
        if pictures is not None:
            for case in found[DEFAULT]:
                pair, places = case.pair, places_of(case.outcome, case.pair.fixed.size)
                picture = case_picture(pair.fixed, pair.moving, places, f"{pair.name}: {said(case.body_px)}")
                save_picture(pictures, f"{kind}-{pair.name}", picture)
    return figures


@one_thread()
def measure(
    purpose: Purpose = Purpose.REPORT,
    kinds: Sequence[str] = ("a", "b"),
    methods: Sequence[str] = tuple(METHODS),
    data: Path = SAMPLE_DATA,
    pictures: Path | None = None,
    *,
    count: int = RADIOGRAPHS,
    other_way: bool = False,
) -> dict[str, float]:
    """Measure both kinds; without the sample data, say so and measure nothing."""
    if not data.is_dir():
        Console().print(f"skipped: there is no sample data in {data}; name its folder with --data")
        return {}
    figures: dict[str, float] = {}
    sets = {
        "a": lambda: radiograph_pairs(purpose, data, count),
        "a-tilted": lambda: radiograph_pairs(purpose, data, count, tilted=True),
        "b": lambda: pseudo_pairs(purpose, data),
    }
    for kind in kinds:
        pairs = list(sets[kind]())
        figures |= measure_reversed(kind, pairs) if other_way else measure_kind(kind, pairs, methods, pictures)
    return figures


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--purpose", choices=[purpose.value for purpose in Purpose], default=Purpose.REPORT.value)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["a", "b"])
    parser.add_argument("--radiographs", type=int, default=RADIOGRAPHS, help="of each CT, kinds a and a-tilted")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--reversed", action="store_true", help="fixed and moving change places; deformable only")
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each case")
    options = parser.parse_args()
    figures = measure(
        Purpose(options.purpose),
        options.kinds,
        options.methods,
        options.data,
        options.pictures,
        count=options.radiographs,
        other_way=options.reversed,
    )
    if options.purpose == Purpose.REPORT.value and figures:
        show("deformable", figures)
        save(figures)


if __name__ == "__main__":
    main()
