"""What the model's score is worth: calibration error before and after, and what abstaining would spare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.serving.calibration import ScoreCalibration
from modeling.calibration import failure_rate_bound, fit_calibration
from modeling.evaluation.outcome import Outcome, chosen
from modeling.evaluation.statistics import expected_calibration_error
from modeling.evaluation.tables import Table, models_of

# What users get: one box or one click, and the model's first choice.
PROTOCOLS = ("box jittered", "click")
FAILS_BELOW_DICE = 0.7
CALIBRATED_IN_BUNDLE = "bundle's calibration"
LEFT_OUT = "calibrated on the other modalities"


@dataclass(frozen=True)
class Abstention:
    """Of n answers, how many a threshold leaves, and how many of those fail.

    Attributes:
        answers: n, empty masks among them: from those the service abstains.
        kept: answers not abstained from.
        failures: of them, with Dice below .7.
    """

    answers: int
    kept: int
    failures: int

    def __str__(self) -> str:
        if not self.kept:
            return f"0 of {self.answers} kept"
        bound = failure_rate_bound(self.failures, self.kept)
        return f"{self.failures / self.kept:.3f} (at most {bound:.3f}), {self.kept} of {self.answers} kept"


def abstention(outcomes: Sequence[Outcome], calibration: ScoreCalibration) -> Abstention:
    """What a modality's calibration makes of its answers."""
    kept = [it for it in _filled(outcomes) if calibration.at(it.values["score"]) >= calibration.abstain_below]
    failures = sum(it.values["dice"] < FAILS_BELOW_DICE for it in kept)
    return Abstention(len(outcomes), len(kept), failures)


def score_table(outcomes: Sequence[Outcome], calibrations: Mapping[str, Mapping[str, ScoreCalibration]]) -> Table:
    """Calibration error and abstention by model and modality.

    Args:
        outcomes: of an evaluation.
        calibrations: by model and modality; models without are compared before only.
    """
    rows = []
    answers = answers_of(outcomes)
    for model in models_of(answers):
        modalities = sorted({it.modality for it in chosen(answers, model=model)})
        for modality in modalities:
            here = chosen(answers, model=model, modality=modality)
            stated = calibrations.get(model, {}).get(modality)
            others = _fitted([it for it in chosen(answers, model=model) if it.modality != modality])
            for name, calibration in ((CALIBRATED_IN_BUNDLE, stated), (LEFT_OUT, others)):
                rows.append((model, modality, name, *_row(here, calibration)))
    note = (
        "One box (jittered) and one click (first of five, first choice) a target. Expected calibration error: mean "
        "over ten bins of |mean score - mean IoU|. Answers that fail (Dice below .7) among those kept, with the "
        "one-sided 95 % Clopper-Pearson bound, which takes answers as independent. The last kind of rows fits the "
        "calibration on the other modalities' answers of this very evaluation."
    )
    header = ("model", "modality", "calibration", "error before", "error after", "failures among kept", "patients")
    return Table("Model score", note, header, tuple(rows))


def answers_of(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One answer a target and protocol: the first repetition, with a known IoU and a score."""
    first: dict[tuple[str, str, str, int, str], Outcome] = {}
    for it in outcomes:
        if it.protocol in PROTOCOLS and "iou" in it.values and np.isfinite(it.values["score"]):
            first.setdefault((it.model, it.source, it.sample, it.target, it.protocol), it)
    return list(first.values())


def _row(outcomes: Sequence[Outcome], calibration: ScoreCalibration | None) -> tuple[str, str, str, str]:
    filled = _filled(outcomes)
    scores, ious = [it.values["score"] for it in filled], [it.values["iou"] for it in filled]
    before, patients = f"{expected_calibration_error(scores, ious):.3f}", str(len({it.patient for it in outcomes}))
    if calibration is None:
        return before, "not calibrated", "-", patients
    after = expected_calibration_error([calibration.at(score) for score in scores], ious)
    return before, f"{after:.3f}", str(abstention(outcomes, calibration)), patients


def _fitted(outcomes: Sequence[Outcome]) -> ScoreCalibration | None:
    filled = _filled(outcomes)
    if not filled:
        return None
    scores, ious = [it.values["score"] for it in filled], [it.values["iou"] for it in filled]
    return fit_calibration(scores, ious, [it.patient for it in filled])


def _filled(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [it for it in outcomes if not it.values["empty"]]
