"""Measures what lite-medsam-click's score is worth, by modality: the curve, and from which answers to abstain.

    python -m examples.click.calibrate [--answers build/evaluation/report.json]

One box (jittered) and one click a target, first choices, as users get them. The threshold is found on labelled training
patients, of whom there are many answers: the least score from which these fail seldom enough. The model learnt from
these images, so "seldom" is far less than is promised. The held-back patients are asked whether the promise holds, for
the strictest threshold first, then for looser ones as long as it does: so many questions in this order need no stricter
bound than one (fixed-sequence testing, Angelopoulos et al. 2021). The curve is fitted on all held-back patients; its
error is that of each patient's answers under the others' curve. Writes modeling/weights/lite-medsam-click.json; install
the bundle again afterwards (--force). Without a report of `python -m modeling evaluate`, the installed bundle is asked
about the held-back patients, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from examples.click.collect import COLLECTION
from examples.click.recipe import NAME
from hilum.serving.bundle import Bundle, find_bundle
from hilum.serving.calibration import ScoreCalibration
from modeling.calibration import MAX_FAILURE_RATE, failure_rate_bound, fit_calibration, least_threshold
from modeling.evaluation.command import TERMINAL_WIDTH
from modeling.evaluation.evaluate import evaluate
from modeling.evaluation.in_process import open_bundles
from modeling.evaluation.outcome import Outcome
from modeling.evaluation.score import FAILS_BELOW_DICE, PROTOCOLS, Abstention, abstention, answers_of
from modeling.evaluation.statistics import expected_calibration_error
from modeling.sample import Sample, read_collection
from modeling.shipped import calibrated

LEAST_PATIENTS = 3
# Bounds on training patients' failures, the strictest first.
TRAINING_RATES = (0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
# Sources whose labels people or another model drew, not this one's teacher, and every how many-th image is asked about:
# neighbouring slices of one volume say the same again.
LABELLED = {"ct-demo": 3, "ct-organs-2d": 1, "mr-lesions": 1}
ANY_RATE = 1.0


def reported(path: Path) -> list[Outcome]:
    """The held-back patients' answers, of a report that has them."""
    known = [Outcome.from_json(it) for it in json.loads(path.read_text(encoding="utf-8"))["outcomes"]]
    return answers_of([it for it in known if it.model == NAME])


def held_back() -> list[Sample]:
    """The images with masks of patients that were not trained on."""
    return [sample for sample in read_collection(COLLECTION, ["test"]) if _has_masks(sample)]


def trained_on() -> list[Sample]:
    """Labelled images that were."""
    samples = read_collection(COLLECTION, ["train"])
    labelled = [sample for sample in samples if sample.source in LABELLED and _has_masks(sample)]
    by_source = {source: [sample for sample in labelled if sample.source == source] for source in LABELLED}
    return [sample for source, stride in LABELLED.items() for sample in by_source[source][::stride]]


def _has_masks(sample: Sample) -> bool:
    return any(target.mask is not None for target in sample.targets)


def answers(bundle: Bundle, samples: Sequence[Sample], asked: str, console: Console) -> list[Outcome]:
    """One box and one click a target."""
    predictors = open_bundles([bundle], threads=len(os.sched_getaffinity(0)))
    shown = track(samples, asked, console=console)
    return answers_of(evaluate(predictors, shown, ("box", "click"), fixed_side=32.0).outcomes)


def threshold(trained: Sequence[Outcome], rate: float) -> float | None:
    """The least score from which training patients' answers fail at most so often; None where they never do."""
    filled = _filled(trained)
    failed = np.array([it.values["dice"] < FAILS_BELOW_DICE for it in filled], np.bool_)
    return least_threshold(np.array([it.values["score"] for it in filled], np.float64), failed, rate)


def fit(outcomes: Sequence[Outcome], score: float) -> ScoreCalibration:
    """The curve of some answers, of which there is one that is not empty, with a score as threshold.

    Raises:
        ValueError: all are empty.
    """
    filled = _filled(outcomes)
    scores, ious = ([it.values[name] for it in filled] for name in ("score", "iou"))
    curve = fit_calibration(scores, ious, [it.patient for it in filled], ANY_RATE)
    if curve is None:
        raise ValueError("a bound of 1 leaves all answers")
    return dataclasses.replace(curve, abstain_below=curve.at(score))


def left_out(outcomes: Sequence[Outcome], score: float) -> tuple[Abstention, float]:
    """Abstention, and calibration error, of each patient's answers under the others' curve, added up."""
    total, expected, true = Abstention(0, 0, 0), [], []
    for patient in sorted({it.patient for it in outcomes}):
        theirs = [it for it in outcomes if it.patient == patient]
        calibration = fit([it for it in outcomes if it.patient != patient], score)
        found = abstention(theirs, calibration)
        total = Abstention(total.answers + found.answers, total.kept + found.kept, total.failures + found.failures)
        for it in _filled(theirs):
            expected.append(calibration.at(it.values["score"]))
            true.append(it.values["iou"])
    return total, expected_calibration_error(expected, true)


def calibrate(trained: Sequence[Outcome], held: Sequence[Outcome], console: Console) -> dict[str, ScoreCalibration]:
    """The calibrations worth shipping, and a table of all modalities.

    A modality is calibrated where there are enough patients on either side, and where held-back patients' answers fail
    no more often than is promised: at most one in ten, by the upper Clopper-Pearson bound.
    """
    header = ("modality", "patients", "answers", "bound in training", "score", "error before", "after", "failures")
    table = Table(
        *header, "holds", title="Failures: of held-back patients' answers that are kept, their bound, coverage"
    )
    chosen: dict[str, ScoreCalibration] = {}
    for modality in sorted({it.modality for it in held}):
        here, theirs = ([it for it in given if it.modality == modality] for given in (held, trained))
        counts = [len({it.patient for it in given}) for given in (here, theirs)]
        filled = _filled(here)
        before = expected_calibration_error([it.values["score"] for it in filled], [it.values["iou"] for it in filled])
        row = (modality, f"{counts[0]} (training: {counts[1]})", f"{len(here)} ({len(theirs)})")
        if min(counts) < LEAST_PATIENTS:
            table.add_row(*row, "too few patients", "", f"{before:.3f}", "", "", "no")
            continue
        for rate in TRAINING_RATES:
            if (score := threshold(theirs, rate)) is None:
                continue
            kept, error = left_out(here, score)
            holds = kept.kept > 0 and failure_rate_bound(kept.failures, kept.kept) <= MAX_FAILURE_RATE
            numbers = (f"{rate:.2f}", f"{score:.3f}", f"{before:.3f}", f"{error:.3f}", str(kept))
            table.add_row(*row, *numbers, "yes" if holds else "no")
            if not holds:
                break
            chosen[modality] = fit(here, score)
    console.print(table)
    return chosen


def in_parts(chosen: Mapping[str, ScoreCalibration], held: Sequence[Outcome], console: Console) -> None:
    """Print what each calibration makes of boxes and clicks, and what of modalities that it was not measured on."""
    for modality, calibration in chosen.items():
        for protocol in PROTOCOLS:
            found = abstention([it for it in held if (it.modality, it.protocol) == (modality, protocol)], calibration)
            console.print(f"{modality}, {protocol}: failures {found}")
        for other in sorted({it.modality for it in held} - {modality}):
            found = abstention([it for it in held if it.modality == other], calibration)
            console.print(f"{modality}'s calibration on {other}, which never gets it: failures {found}")


def _filled(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [it for it in outcomes if not it.values["empty"]]


def main() -> None:
    """Ask, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, help="report.json of an evaluation of the bundle")
    options = parser.parse_args()
    console = Console(width=max(Console().width, TERMINAL_WIDTH))
    bundle = find_bundle(NAME)
    held = reported(options.answers) if options.answers else answers(bundle, held_back(), "held-back patients", console)
    trained = answers(bundle, trained_on(), "training patients", console)
    chosen = calibrate(trained, held, console)
    in_parts(chosen, held, console)
    path = calibrated(NAME, chosen)
    console.print(f"wrote {path}: {', '.join(chosen) or 'no modality'} calibrated")


if __name__ == "__main__":
    main()
