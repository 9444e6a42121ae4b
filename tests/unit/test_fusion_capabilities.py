"""Which pairs of modalities are doubted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hilum.fusion_capabilities import UNVERIFIED, VerifiedPair, pair_doubts
from hilum.types import ViewRelation

MODALITIES = st.sampled_from(["", "CT", "DX", "MR", "US"])
PAIRS = st.tuples(MODALITIES.filter(bool), MODALITIES.filter(bool), st.sampled_from(ViewRelation))


@given(st.sets(PAIRS), MODALITIES, MODALITIES, st.sampled_from(ViewRelation))
def test_only_what_is_listed_is_not_doubted(
    listed: set[tuple[str, str, ViewRelation]], fixed: str, moving: str, views: ViewRelation
) -> None:
    """A pair is doubted unless it is listed as it is asked for: in this order, and in this view relation."""
    verified = [VerifiedPair(*pair, "phantoms", "none") for pair in listed]
    doubts = pair_doubts(fixed, moving, views, verified)
    assert doubts == (set() if (fixed, moving, views) in listed else {UNVERIFIED})
