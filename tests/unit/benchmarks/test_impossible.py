"""How shares of flagged pairs are stated, and the gap that a limit belongs in."""

from __future__ import annotations

import pytest

from benchmarks.impossible import Share, Verdict, flagged, gap, rows_of
from benchmarks.impossible_pairs import Kind, PairType


def verdict(kind: Kind, evidence: float, *, error_px: float | None = None, overlap_is_low: bool = False) -> Verdict:
    return Verdict(PairType.PSEUDO, kind, evidence, overlap_is_low, flagged=overlap_is_low, error_px=error_px)


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    """None and all of 20 have the closed forms of the exact interval; 5 of 10 has the tabled one."""
    assert Share(0, 20).interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert Share(20, 20).interval == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert Share(5, 10).interval == pytest.approx((0.1871, 0.8129), abs=1e-4)


def test_a_limit_belongs_between_good_pairs_and_others() -> None:
    """Left out are others with low overlap, which are flagged anyway, and what was not registered."""
    verdicts = [
        verdict(Kind.GOOD, 0.2, error_px=1),
        verdict(Kind.GOOD, 0.3, error_px=2),
        verdict(Kind.GOOD, 0.05, error_px=40),
        verdict(Kind.MIRRORED, 0.1),
        verdict(Kind.APART, 0.5, overlap_is_low=True),
    ]
    assert gap(verdicts) == (0.1, 0.2)


def test_what_could_be_registered_but_was_not_is_a_row_of_its_own() -> None:
    """A flag on it is right, so that it does not count among those that were registered."""
    verdicts = [verdict(Kind.GOOD, 0.2, error_px=error) for error in (0.5, 2.9, 3.0)] + [verdict(Kind.BLANK, 0.1)]
    rows = rows_of(verdicts)
    assert {name: len(of_row) for name, of_row in rows.items()} == {
        "good, registered": 2,
        "good, not registered": 1,
        "blank": 1,
    }
    assert flagged(rows["blank"]) == Share(0, 1)
