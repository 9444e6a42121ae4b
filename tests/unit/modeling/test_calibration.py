"""modeling.calibration: curves that rise, and thresholds that keep what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from hilum.serving.calibration import ScoreCalibration
from modeling.calibration import (
    CONFIDENCE,
    FAILS_BELOW_IOU,
    MAX_FAILURE_RATE,
    MAX_KNOTS,
    failure_rate_bound,
    fit_calibration,
)

Answers = tuple[NDArray[np.float64], NDArray[np.float64], list[str]]


def answers(count: int, seed: int = 0) -> Answers:
    """Answers whose IoU is two thirds their score and one third chance, of ten patients."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, count)
    return scores, (2 * scores + rng.uniform(0, 1, count)) / 3, [f"patient {index % 10}" for index in range(count)]


@st.composite
def any_answers(draw: st.DrawFn) -> Answers:
    """Answers of which a calibration may or may not come, scores that are equal or nearly so among them."""
    count = draw(st.integers(1, 120))
    near = st.sampled_from([0.5, float(np.nextafter(0.5, 1)), float(np.nextafter(0.5, 0))])
    scores = draw(st.lists(st.floats(-3, 3) | near, min_size=count, max_size=count))
    iou = draw(st.lists(st.floats(0, 1) | st.floats(0.8, 1), min_size=count, max_size=count))
    return np.array(scores), np.array(iou), [str(index % 3) for index in range(count)]


def left(calibration: ScoreCalibration, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which answers the service would not abstain from, found as the service finds them."""
    return np.array([calibration.at(float(score)) >= calibration.abstain_below for score in scores])


@given(any_answers())
def test_answers_that_are_left_fail_seldom(given_answers: Answers) -> None:
    """Whatever the answers: few knots, and where a threshold is offered the failure rate's bound is at most 10 %."""
    scores, iou, patients = given_answers
    calibration = fit_calibration(scores, iou, patients)
    if calibration is None:
        assert failure_rate_bound(int((iou < FAILS_BELOW_IOU).sum()), len(iou)) > MAX_FAILURE_RATE
        return
    assert len(calibration.scores) <= MAX_KNOTS
    assert (calibration.patients, calibration.answers) == (len(set(patients)), len(scores))
    kept = left(calibration, scores)
    assert failure_rate_bound(int((iou[kept] < FAILS_BELOW_IOU).sum()), int(kept.sum())) <= MAX_FAILURE_RATE


@given(any_answers(), st.randoms(use_true_random=False))
def test_the_order_of_answers_means_nothing(given_answers: Answers, random: object) -> None:
    """The same answers in another order give the same calibration, equal scores included."""
    scores, iou, patients = given_answers
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(scores))  # type: ignore[attr-defined]
    first = fit_calibration(scores, iou, patients)
    second = fit_calibration(scores[order], iou[order], [patients[index] for index in order])
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert second.scores == pytest.approx(first.scores)
        assert second.expected_iou == pytest.approx(first.expected_iou)


def test_the_curve_is_what_was_measured() -> None:
    """On answers of known expectation the calibrated score is that expectation, where the raw one is up to .17 off."""
    calibration = fit_calibration(*answers(20_000))
    assert calibration is not None
    for score in (0.1, 0.3, 0.6, 0.9):
        assert calibration.at(score) == pytest.approx((2 * score + 0.5) / 3, abs=0.02)


def test_the_threshold_is_the_least_that_does() -> None:
    """The next lower expected IoU among the answers would let the failure bound exceed 10 %."""
    scores, iou, patients = answers(3000, seed=1)
    calibration = fit_calibration(scores, iou, patients)
    assert calibration is not None
    kept = left(calibration, scores)
    assert 0 < kept.sum() < len(scores)
    expected = np.array([calibration.at(float(score)) for score in scores])
    more = expected >= expected[~kept].max()
    assert failure_rate_bound(int((iou[more] < FAILS_BELOW_IOU).sum()), int(more.sum())) > MAX_FAILURE_RATE


@pytest.mark.parametrize("count", [1, 10, 28])
def test_too_few_answers_promise_nothing(count: int) -> None:
    """However good they are, fewer than 29 answers cannot show that at most one in ten fails."""
    assert fit_calibration(np.ones(count), np.ones(count), ["a"] * count) is None
    assert fit_calibration(np.ones(29), np.ones(29), ["a"] * 29) is not None


def test_a_score_that_means_nothing_is_not_calibrated() -> None:
    """Where failures come at every score alike there is no threshold, and no calibration is offered."""
    iou = np.tile([0.9, 0.2], 500)
    assert fit_calibration(np.linspace(0, 1, 1000), iou, ["a"] * 1000) is None


@given(st.integers(1, 500), st.data())
def test_the_bound_is_clopper_and_pearsons(count: int, data: st.DataObject) -> None:
    """At the bound, as few failures as were seen come with probability 5 %."""
    failures = data.draw(st.integers(0, count - 1))
    bound = failure_rate_bound(failures, count)
    assert failures / count < bound <= 1
    assert binom.cdf(failures, count, bound) == pytest.approx(1 - CONFIDENCE)


@pytest.mark.parametrize(
    ("scores", "iou", "patients"),
    [
        ([], [], []),
        ([0.5], [0.5, 0.6], ["a"]),
        ([0.5], [0.5], ["a", "b"]),
        ([np.nan], [0.5], ["a"]),
        ([0.5], [1.5], ["a"]),
        ([0.5], [np.nan], ["a"]),
    ],
)
def test_what_are_no_answers_is_refused(scores: list[float], iou: list[float], patients: list[str]) -> None:
    """Lengths that differ, no answers, and numbers that are no IoU raise ValueError."""
    with pytest.raises(ValueError, match=r"must be"):
        fit_calibration(scores, iou, patients)
