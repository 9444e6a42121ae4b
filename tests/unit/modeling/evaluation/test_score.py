"""modeling.evaluation.score: what a calibration changes, and what abstaining spares."""

import numpy as np
import pytest

from hilum.serving.calibration import ScoreCalibration
from modeling.evaluation.outcome import Outcome
from modeling.evaluation.score import abstention, answers_of, score_table

# Scores above .6 are worth .9, others .3.
CALIBRATION = ScoreCalibration((0.59, 0.61), (0.3, 0.9), 0.5, patients=10, answers=100)


def _answer(number: int, modality: str, score: float, dice: float, empty: float = 0.0) -> Outcome:
    values = {"score": score, "dice": dice, "iou": dice / (2 - dice), "empty": empty}
    name = f"{modality}-{number}"
    return Outcome("model", "click", modality, modality, name, name, 0, "x", False, values)


def test_abstention_counts_what_is_kept_and_what_of_it_fails() -> None:
    """Low scores and empty masks are not kept; kept answers below Dice .7 are failures."""
    answers = [_answer(0, "CT", 0.9, 0.95), _answer(1, "CT", 0.9, 0.5), _answer(2, "CT", 0.2, 0.1)]
    found = abstention([*answers, _answer(3, "CT", 0.9, 0.0, empty=1.0)], CALIBRATION)
    assert (found.answers, found.kept, found.failures) == (4, 2, 1)
    assert "2 of 4 kept" in str(found)


def test_the_table_shows_the_error_before_and_after() -> None:
    """Answers of IoU .9 with score .7 have error .2 before, and 0 by a calibration, also one fitted elsewhere."""
    answers = [_answer(number, modality, 0.7, 2 * 0.9 / 1.9) for number in range(60) for modality in ("CT", "MR")]
    rows = score_table(answers, {"model": {"CT": CALIBRATION}}).rows
    by_kind = {row[1:3]: row for row in rows}
    assert by_kind["CT", "bundle's calibration"][3:5] == ("0.200", "0.000")
    assert by_kind["MR", "bundle's calibration"][4] == "not calibrated"
    assert by_kind["MR", "calibrated on the other modalities"][4] == "0.000"
    assert "60 of 60 kept" in by_kind["MR", "calibrated on the other modalities"][5]


def test_only_the_first_repetition_counts() -> None:
    """Five clicks on one target are one answer; answers without a score are none."""
    clicks = [_answer(0, "CT", score, 0.9) for score in (0.8, 0.1, 0.1)]
    (kept,) = answers_of([*clicks, _answer(1, "CT", np.nan, 0.9)])
    assert kept.values["score"] == pytest.approx(0.8)
