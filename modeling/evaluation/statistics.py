"""Means with intervals that know how many patients stand behind them.

Images of one patient are alike, so patients are drawn again, not images (cluster bootstrap, percentile interval). A
macro mean gives every source the same weight; its interval draws sources again and patients within each, since a source
with one patient says nothing about other patients of its kind, and other sources are what a reader will have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

RESAMPLES = 2000
SEED = 20242
LEVEL = 0.95
CALIBRATION_BINS = 10

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval.

    Attributes:
        value: the estimate.
        low: lower bound; NaN with fewer than two patients.
        high: upper bound.
        patients: how many different ones.
        count: how many values (images, objects or trials).
    """

    value: float
    low: float
    high: float
    patients: int
    count: int

    def __str__(self) -> str:
        if not self.count:
            return "-"
        bounds = f"[{self.low:.3f}, {self.high:.3f}]" if np.isfinite(self.low) else "(1 patient)"
        return f"{self.value:.3f} {bounds}"


def mean_interval(values: Sequence[float], patients: Sequence[str], seed: int = SEED) -> Interval:
    """Mean of values, each of some patient; NaN values are left out.

    Args:
        values: n numbers.
        patients: n names.
        seed: of the bootstrap.

    Raises:
        ValueError: the lengths differ.
    """
    sums, patients_left, count = _sums_by_patient(np.asarray(values, np.float64)[:, None], patients)
    draw = _means(sums, seed)
    return _interval(_total_mean(sums), draw, patients_left, count)


def macro_interval(groups: Mapping[str, tuple[Sequence[float], Sequence[str]]], seed: int = SEED) -> Interval:
    """Mean over groups (sources) of each group's mean; groups are drawn, and patients within each.

    With one group this is `mean_interval`.

    Args:
        groups: by name, values and their patients; groups without values are left out.
        seed: of the bootstrap.
    """
    parts = [_sums_by_patient(np.asarray(values, np.float64)[:, None], of) for values, of in groups.values()]
    known = [part for part in parts if part[1]]
    if not known:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    draws = np.stack([_means(sums, seed + number) for number, (sums, _, _) in enumerate(known)])
    picked = np.random.default_rng(seed).integers(len(known), size=(len(known), RESAMPLES))
    drawn: Values = np.take_along_axis(draws, picked, axis=0).mean(axis=0)
    value = float(np.mean([_total_mean(sums) for sums, _, _ in known]))
    return _interval(value, drawn, sum(part[1] for part in known), sum(part[2] for part in known))


def pooled_interval(
    counts: NDArray[np.float64],
    patients: Sequence[str],
    measure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    seed: int = SEED,
) -> Interval:
    """A measure of summed counts: all pixels together, so that large objects weigh more.

    Args:
        counts: (n, m), for example tp, fp, fn and tn of n masks.
        patients: n names.
        measure: takes (..., m) sums to (...) values.
        seed: of the bootstrap.
    """
    sums, here, some = _sums_by_patient(np.asarray(counts, np.float64), patients)
    drawn = measure(_weights(len(sums), seed) @ sums[:, :-1])
    return _interval(float(measure(sums[:, :-1].sum(axis=0))), drawn, here, some)


def clopper_pearson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """A share and its exact two-sided binomial interval; trials count as independent, one patient each.

    Source: Clopper and Pearson, Biometrika 26 (1934).

    Raises:
        ValueError: successes are negative or more than trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return Interval(successes / trials if trials else np.nan, low, high, trials, trials)


@dataclass(frozen=True)
class Reliability:
    """A bin of scores: how many, their mean, and the mean of what they estimate."""

    low: float
    high: float
    count: int
    mean_score: float
    mean_iou: float


def reliability(scores: Sequence[float], ious: Sequence[float], bins: int = CALIBRATION_BINS) -> list[Reliability]:
    """Scores in bins of equal width over [0, 1] (scores outside are clipped), empty bins left out."""
    score, iou = np.clip(np.asarray(scores, np.float64), 0, 1), np.asarray(ious, np.float64)
    number = np.minimum((score * bins).astype(int), bins - 1)
    table = []
    for index in range(bins):
        here = number == index
        if here.any():
            means = float(score[here].mean()), float(iou[here].mean())
            table.append(Reliability(index / bins, (index + 1) / bins, int(here.sum()), *means))
    return table


def expected_calibration_error(scores: Sequence[float], ious: Sequence[float], bins: int = CALIBRATION_BINS) -> float:
    """Mean over answers of |mean score - mean IoU| of their bin (Naeini et al., AAAI 2015, for a regressed IoU)."""
    table = reliability(scores, ious, bins)
    total = sum(row.count for row in table)
    return sum(row.count * abs(row.mean_score - row.mean_iou) for row in table) / total if total else float("nan")


def _sums_by_patient(columns: Values, patients: Sequence[str]) -> tuple[Values, int, int]:
    """Column sums and number of values of each patient, (patients, m + 1); how many patients; how many values."""
    if len(columns) != len(patients):
        raise ValueError(f"{len(columns)} values of {len(patients)} patients")
    known = ~np.isnan(columns).any(axis=1)
    kept = columns[known]
    names, index = np.unique(np.asarray(patients, str)[known], return_inverse=True)
    sums = np.zeros((len(names), columns.shape[1] + 1))
    np.add.at(sums, index, np.column_stack([kept, np.ones(len(kept))]))
    return sums, len(names), len(kept)


def _total_mean(sums: Values) -> float:
    return float(sums[:, 0].sum() / sums[:, 1].sum()) if len(sums) else float("nan")


def _means(sums: Values, seed: int) -> Values:
    drawn = _weights(len(sums), seed) @ sums
    with np.errstate(invalid="ignore"):
        means: Values = drawn[:, 0] / drawn[:, 1]
    return means


def _weights(patients: int, seed: int) -> Values:
    """How often each patient is drawn, (resamples, patients)."""
    if not patients:
        return np.zeros((RESAMPLES, 0))
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), RESAMPLES).astype(float)


def _interval(value: float, drawn: Values, patients: int, count: int) -> Interval:
    if patients < 2:
        return Interval(value, float("nan"), float("nan"), patients, count)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), patients, count)
