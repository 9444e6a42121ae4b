"""examples.click.calibrate: which thresholds are tried, and what is calibrated."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from examples.click.calibrate import calibrate, fit, in_parts, left_out, threshold
from modeling.calibration import MAX_FAILURE_RATE, failure_rate_bound
from modeling.evaluation.outcome import Outcome
from modeling.evaluation.score import abstention

CONSOLE = Console(file=io.StringIO(), width=200)


def answers(count: int, failing_below: float, *, modality: str = "CT", patients: int = 4) -> list[Outcome]:
    """Answers with scores evenly from 0 to 1, of which those below a score fail."""
    found = []
    for number, score in enumerate(np.linspace(0, 1, count)):
        iou = 0.9 if score >= failing_below else 0.3
        values = {"score": float(score), "iou": iou, "dice": 2 * iou / (1 + iou), "empty": 0.0}
        patient = f"{modality}-{number % patients}"
        found.append(Outcome("model", "click", modality, modality, patient, f"{number}", 0, "x", False, values))
    return found


def test_the_threshold_leaves_as_many_failures_as_the_bound_allows() -> None:
    """Stricter bounds ask for higher scores; no score keeps failures rarer than so few answers can show."""
    trained = answers(400, 0.5)
    strict, loose = threshold(trained, 0.03), threshold(trained, 0.1)
    assert strict is not None
    assert loose is not None
    assert 0.4 < loose < strict <= 0.52
    assert threshold(answers(20, 0.5), 0.03) is None


def test_a_modality_is_calibrated_where_held_back_patients_keep_the_promise() -> None:
    """Training patients that fail below the same score give thresholds that hold; a looser one is taken."""
    trained, held = answers(600, 0.5), answers(400, 0.5)
    chosen = calibrate(trained, held, CONSOLE)["CT"]
    found = abstention(held, chosen)
    assert failure_rate_bound(found.failures, found.kept) <= MAX_FAILURE_RATE
    strictest = threshold(trained, 0.03)
    assert strictest is not None
    assert found.kept > left_out(held, strictest)[0].kept
    assert left_out(held, strictest)[1] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("trained", "held"),
    [
        (answers(600, 0.2), answers(400, 0.9)),
        (answers(600, 0.5, patients=2), answers(400, 0.5)),
        (answers(600, 0.5), answers(400, 0.5, patients=2)),
        (answers(20, 0.5), answers(400, 0.5)),
    ],
    ids=["held back fail more", "few trained on", "few held back", "few answers"],
)
def test_no_modality_is_calibrated_by_a_promise_that_is_not_kept(trained: list[Outcome], held: list[Outcome]) -> None:
    """Where held-back patients fail more than is promised, or patients or answers are few, nothing is calibrated."""
    assert calibrate(trained, held, CONSOLE) == {}


def test_boxes_clicks_and_other_modalities_are_told_apart() -> None:
    """Leaving a modality out is told by its answers under the other's calibration; prompts have a line each."""
    console = Console(file=(text := io.StringIO()), width=200)
    held = [*answers(400, 0.5), *answers(100, 0.9, modality="MR")]
    in_parts({"CT": fit(answers(400, 0.5), 0.5)}, held, console)
    assert "CT's calibration on MR" in text.getvalue()
    assert "of 100 kept" in text.getvalue()
    assert "CT, click: failures" in text.getvalue()
    assert "CT, box jittered: failures 0 of 0 kept" in text.getvalue()
