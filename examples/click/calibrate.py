"""Measures what lite-medsam-click's score is worth, on the collection's held-back patients: by modality.

    python -m examples.click.calibrate [--answers build/evaluation/report.json]

One box (jittered) and one click a target, first choices, as users get them. The curve that is shipped is fitted on all
held-back patients of a modality; how far it can be trusted is told by leaving out one patient at a time, whose answers
are judged by the curve and the threshold of the others. Writes modeling/weights/lite-medsam-click.json; install the
bundle again afterwards (--force). Without a report of `python -m modeling evaluate`, it asks the installed bundle.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from examples.click.collect import COLLECTION
from examples.click.recipe import NAME
from hilum.serving.bundle import Bundle, find_bundle
from hilum.serving.calibration import ScoreCalibration
from modeling.calibration import MAX_FAILURE_RATE, failure_rate_bound, fit_calibration
from modeling.evaluation.evaluate import evaluate
from modeling.evaluation.in_process import open_bundles
from modeling.evaluation.outcome import Outcome
from modeling.evaluation.score import Abstention, abstention, answers_of
from modeling.evaluation.statistics import expected_calibration_error
from modeling.sample import read_collection
from modeling.shipped import calibrated

LEAST_PATIENTS = 3
FITTED_RATES = (0.1, 0.08, 0.06, 0.05, 0.04, 0.03)


def reported(path: Path) -> list[Outcome]:
    """The same answers, of a report that has them."""
    known = [Outcome.from_json(it) for it in json.loads(path.read_text(encoding="utf-8"))["outcomes"]]
    return answers_of([it for it in known if it.model == NAME])


def answers(bundle: Bundle, console: Console) -> list[Outcome]:
    """One box and one click a target of the held-back patients."""
    samples = [s for s in read_collection(COLLECTION, ["test"]) if any(t.mask is not None for t in s.targets)]
    predictors = open_bundles([bundle], threads=len(os.sched_getaffinity(0)))
    shown = track(samples, "asking", console=console)
    return answers_of(evaluate(predictors, shown, ("box", "click"), fixed_side=32.0).outcomes)


def fit(outcomes: Sequence[Outcome], rate: float) -> ScoreCalibration | None:
    """The calibration of some answers; None where no threshold keeps failures as rare as this."""
    filled = [it for it in outcomes if not it.values["empty"]]
    if not filled:
        return None
    scores, ious = ([it.values[name] for it in filled] for name in ("score", "iou"))
    return fit_calibration(scores, ious, [it.patient for it in filled], rate)


def left_out(outcomes: Sequence[Outcome], rate: float) -> tuple[Abstention, float]:
    """Abstention, and calibration error, of each patient's answers under the others' calibration, added up."""
    total, expected, true = Abstention(0, 0, 0), [], []
    for patient in sorted({it.patient for it in outcomes}):
        theirs = [it for it in outcomes if it.patient == patient]
        calibration = fit([it for it in outcomes if it.patient != patient], rate)
        if calibration is None:
            total = dataclasses.replace(total, answers=total.answers + len(theirs))
            continue
        found = abstention(theirs, calibration)
        total = Abstention(total.answers + found.answers, total.kept + found.kept, total.failures + found.failures)
        for it in theirs:
            if not it.values["empty"]:
                expected.append(calibration.at(it.values["score"]))
                true.append(it.values["iou"])
    return total, expected_calibration_error(expected, true) if expected else float("nan")


def calibrate(outcomes: Sequence[Outcome], console: Console) -> dict[str, ScoreCalibration]:
    """The calibrations worth shipping, and a table of all modalities.

    A modality is calibrated where there are enough patients, and where answers of patients left out fail no more often
    than is promised: at most one in ten, by the upper Clopper-Pearson bound. A threshold that keeps the promise on the
    patients it was found on seldom keeps it on others; so stricter ones are tried, and the first that does is taken.
    """
    header = ("modality", "patients", "answers", "fitted to", "error before", "left out: error", "left out: failures")
    table = Table(*header, "shipped")
    chosen: dict[str, ScoreCalibration] = {}
    for modality in sorted({it.modality for it in outcomes}):
        here = [it for it in outcomes if it.modality == modality]
        patients = len({it.patient for it in here})
        filled = [it for it in here if not it.values["empty"]]
        before = expected_calibration_error([it.values["score"] for it in filled], [it.values["iou"] for it in filled])
        for rate in FITTED_RATES:
            kept, error = left_out(here, rate)
            calibration = fit(here, rate)
            holds = kept.kept > 0 and failure_rate_bound(kept.failures, kept.kept) <= MAX_FAILURE_RATE
            if calibration is not None and patients >= LEAST_PATIENTS and holds:
                chosen[modality] = calibration
            shipped = "yes" if modality in chosen else "no"
            numbers = (f"{rate:.2f}", f"{before:.3f}", f"{error:.3f}", str(kept))
            table.add_row(modality, str(patients), str(len(here)), *numbers, shipped)
            if modality in chosen:
                break
    console.print(table)
    return chosen


def main() -> None:
    """Ask, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, help="report.json of an evaluation of the bundle")
    options = parser.parse_args()
    console = Console()
    outcomes = reported(options.answers) if options.answers else answers(find_bundle(NAME), console)
    path = calibrated(NAME, calibrate(outcomes, console))
    console.print(
        f"wrote {path}; answers: {len(outcomes)}, mean IoU {np.mean([it.values['iou'] for it in outcomes]):.3f}"
    )


if __name__ == "__main__":
    main()
