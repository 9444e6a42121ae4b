"""modeling.evaluation.statistics: intervals that cover, patients that count once, exact shares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from modeling.evaluation import statistics
from modeling.evaluation.measures import Counts


def _draw(random: np.random.Generator, patients: int, images: int) -> tuple[list[float], list[str]]:
    """Values around 0 whose variance is between patients."""
    effects = random.normal(0, 1, patients)
    values = (effects[:, None] + random.normal(0, 0.1, (patients, images))).ravel()
    return values.tolist(), [str(number) for number in range(patients) for _ in range(images)]


def test_intervals_cover_as_often_as_they_say() -> None:
    """About 95 % of 100 intervals over 30 patients hold the truth; intervals over their images far fewer."""
    random = np.random.default_rng(1)
    covered = covered_by_images = 0
    for number in range(100):
        values, patients = _draw(random, 30, 4)
        interval = statistics.mean_interval(values, patients, seed=number)
        covered += interval.low <= 0 <= interval.high
        as_images = statistics.mean_interval(values, [str(index) for index in range(len(values))], seed=number)
        covered_by_images += as_images.low <= 0 <= as_images.high
    assert 0.88 <= covered / 100 <= 1
    assert covered_by_images / 100 < 0.85


def test_one_patient_has_no_interval() -> None:
    """However many images one patient has, no interval is claimed, and the text says why."""
    interval = statistics.mean_interval([0.1, 0.5, 0.9], ["a"] * 3)
    assert interval.value == pytest.approx(0.5)
    assert np.isnan(interval.low)
    assert str(interval) == "0.500 (1 patient)"


def test_missing_values_are_left_out() -> None:
    """NaN, such as the centre of an empty mask, counts neither as a value nor as a patient."""
    interval = statistics.mean_interval([1.0, np.nan, 3.0], ["a", "b", "c"])
    assert (interval.value, interval.patients, interval.count) == (2, 2, 2)
    assert statistics.mean_interval([], []).count == 0


def test_the_macro_mean_gives_every_source_the_same_weight() -> None:
    """A source of 100 images weighs as much as one of two."""
    groups = {"large": ([1.0] * 100, [str(number) for number in range(100)]), "small": ([0.0, 0.0], ["x", "y"])}
    macro = statistics.macro_interval(groups)
    assert (macro.value, macro.patients) == (0.5, 102)


def test_the_macro_interval_does_not_trust_sources_of_one_patient() -> None:
    """Ten sources of one patient each still give an interval, about as wide as that of ten patients."""
    values = np.random.default_rng(5).normal(0, 1, 10)
    alone = {str(number): ([value], [str(number)]) for number, value in enumerate(values)}
    macro = statistics.macro_interval(alone)
    together = statistics.mean_interval(values.tolist(), list(map(str, range(10))))
    assert macro.high - macro.low == pytest.approx(together.high - together.low, rel=0.2)


def test_pooling_weighs_pixels_not_masks() -> None:
    """Dice of all pixels together is that of the large mask, when the other one is small."""
    counts = np.array([[1000.0, 0, 0, 0], [0, 5, 5, 0]])

    def dice(
        sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.array(2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2]))

    pooled = statistics.pooled_interval(counts, ["a", "b"], dice)
    assert pooled.value == pytest.approx(Counts(1000, 5, 5, 0).dice)
    assert pooled.low < 0.1


def test_the_same_seed_gives_the_same_interval() -> None:
    """Two runs print the same figures."""
    values, patients = _draw(np.random.default_rng(2), 12, 3)
    assert statistics.mean_interval(values, patients) == statistics.mean_interval(values, patients)


@settings(deadline=None)
@given(st.integers(0, 60).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_clopper_pearson_is_scipys(case: tuple[int, int]) -> None:
    """The interval of a share is the exact one that scipy's binomial test gives."""
    successes, trials = case
    interval = statistics.clopper_pearson(successes, trials)
    if trials:
        expected = binomtest(successes, trials).proportion_ci(0.95, "exact")
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    else:
        assert (interval.low, interval.high) == (0, 1)


def test_impossible_shares_are_refused() -> None:
    """More successes than trials is an error, not a share above 1."""
    with pytest.raises(ValueError, match="5 successes of 3"):
        statistics.clopper_pearson(5, 3)


def test_calibration_error_of_known_scores() -> None:
    """Scores that are right have error 0; scores .2 too high have .2; bins weigh by their answers."""
    right = [0.05, 0.15, 0.95]
    assert statistics.expected_calibration_error(right, right) == pytest.approx(0)
    assert statistics.expected_calibration_error([0.75] * 4, [0.55] * 4) == pytest.approx(0.2)
    assert statistics.expected_calibration_error([0.75] * 3 + [0.15], [0.55] * 3 + [0.15]) == pytest.approx(0.15)
    assert np.isnan(statistics.expected_calibration_error([], []))


def test_scores_above_one_are_in_the_last_bin() -> None:
    """A model's score may pass 1; it is read as 1."""
    (row,) = statistics.reliability([1.03, 1.0], [0.9, 0.9])
    assert (row.low, row.count, row.mean_score) == (0.9, 2, 1.0)
