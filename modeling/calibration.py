"""What a model's score is worth on one modality: a curve from scores to IoU, and where to abstain.

Isotonic regression (Zadrozny and Elkan 2002), as a model's scores rank masks better than they measure them. The
threshold is the least for which the answers that are left fail seldom enough: the upper Clopper-Pearson bound (1934) of
their failure rate, at 95 % and one-sided, is at most 10 %. It counts answers as independent and is found on the answers
that it is stated for, so it is a promise only where held-back patients confirm it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import beta

from hilum.serving.calibration import ScoreCalibration

MAX_KNOTS = 16
# An answer fails below Dice .7, as IoU = Dice / (2 - Dice).
FAILS_BELOW_IOU = 0.7 / (2 - 0.7)
MAX_FAILURE_RATE = 0.1
CONFIDENCE = 0.95

Floats = NDArray[np.float64]


def fit_calibration(
    model_scores: ArrayLike,
    true_iou: ArrayLike,
    patients: Sequence[str] | NDArray[np.str_],
    max_failure_rate: float = MAX_FAILURE_RATE,
) -> ScoreCalibration | None:
    """Returns a modality's calibration, None where no threshold fails seldom enough.

    Args:
        model_scores: (n,) model scores of answers that are not empty; from empty ones the service abstains anyway.
        true_iou: (n,) IoU of each with the truth, in [0, 1].
        patients: (n,) whose image it was.
        max_failure_rate: the bound on the failure rate; less than is promised leaves room for other patients.

    Raises:
        ValueError: The three are not as many, there are none, or a number is not finite or an IoU outside [0, 1].
    """
    scores, iou = np.asarray(model_scores, np.float64), np.asarray(true_iou, np.float64)
    if not (scores.shape == iou.shape == (len(patients),)) or not scores.size:
        raise ValueError("scores, IoU and patients must be as many, at least one")
    if not (np.isfinite(scores).all() and ((iou >= 0) & (iou <= 1)).all()):
        raise ValueError("scores must be finite and every IoU in [0, 1]")
    knots, expected = _curve(scores, iou)
    threshold = least_threshold(np.interp(scores, knots, expected), iou < FAILS_BELOW_IOU, max_failure_rate)
    if threshold is None:
        return None
    counted = len(set(map(str, patients)))
    return ScoreCalibration(
        tuple(knots.tolist()), tuple(expected.tolist()), threshold, patients=counted, answers=scores.size
    )


def failure_rate_bound(failures: int, answers: int) -> float:
    """Returns the one-sided upper Clopper-Pearson bound of a failure rate, 1 where there are no answers.

    Args:
        failures: Answers that failed.
        answers: All of them.
    """
    return 1.0 if failures == answers else float(beta.ppf(CONFIDENCE, failures + 1, answers - failures))


def least_threshold(
    values: Floats, failed: NDArray[np.bool_], max_failure_rate: float = MAX_FAILURE_RATE
) -> float | None:
    """Returns the least of the values at which the answers that reach it fail seldom enough, None where none is.

    Args:
        values: (n,) scores of answers, or what they were expected to be worth.
        failed: (n,) which of them failed.
        max_failure_rate: The bound on the failure rate.
    """
    order = np.argsort(values)
    distinct, first = np.unique(values[order], return_index=True)
    failures = np.cumsum(failed[order][::-1])[::-1]
    for value, begin in zip(distinct, first, strict=True):
        if failure_rate_bound(int(failures[begin]), values.size - int(begin)) <= max_failure_rate:
            return float(value)
    return None


def _curve(scores: Floats, iou: Floats) -> tuple[Floats, Floats]:
    """Knots (k,) and expected IoU (k,): isotonic regression, averaged over at most MAX_KNOTS groups of equal size."""
    distinct, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    # Equal scores are one answer to the regression: the order in which they come means nothing.
    fitted = isotonic_regression(np.bincount(place, iou) / count, weights=count).x
    before = np.cumsum(count) - count
    group = np.unique(before * MAX_KNOTS // scores.size, return_inverse=True)[1]
    size = np.bincount(group, count)
    knots, expected = (np.bincount(group, count * values) / size for values in (distinct, fitted))
    # Means of neighbouring groups may meet, or pass each other, by rounding alone.
    first = np.flatnonzero(np.diff(group, prepend=-1))
    knots = np.clip(knots, distinct[first], distinct[np.append(first[1:], group.size) - 1])
    return knots, np.clip(np.maximum.accumulate(expected), 0, 1)
