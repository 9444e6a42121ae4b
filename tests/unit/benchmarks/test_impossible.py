"""How shares of flagged pairs are stated, and the limits that separate them."""

from __future__ import annotations

import pytest

from benchmarks.impossible import Share, Verdict, limit
from benchmarks.impossible_pairs import Kind, PairType


def verdict(kind: Kind, distinctness: float, *, overlap_is_low: bool = False) -> Verdict:
    return Verdict(PairType.PSEUDO, kind, distinctness, overlap_is_low, by_service=False, error_px=None)


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    """None and all of 20 have the closed forms of the exact interval; 5 of 10 has the tabled one."""
    assert Share(0, 20).interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert Share(20, 20).interval == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert Share(5, 10).interval == pytest.approx((0.1871, 0.8129), abs=1e-4)


def test_a_limit_lies_between_good_pairs_and_others() -> None:
    """Half way between the two, others with low overlap left out: they are flagged anyway."""
    verdicts = [
        verdict(Kind.GOOD, 0.2),
        verdict(Kind.GOOD, 0.3),
        verdict(Kind.MIRRORED, 0.1),
        verdict(Kind.APART, 0.5, overlap_is_low=True),
    ]
    assert limit(verdicts) == pytest.approx(0.15)
