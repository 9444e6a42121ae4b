"""What masks are measured by: where the truth puts an organ, what the X-ray shows, and what boxes alone say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.decoder_outlines import OutlinedPair, landed
from benchmarks.deformable_pairs import KnownPair
from benchmarks.masks import Case, Errors, gain, shown
from benchmarks.registrars.registrar import pixel_places
from hilum.types import Box
from services.fusion.registration import RegistrationImage

SIZE = (20, 24)
BODY = np.zeros(SIZE, np.bool_)
BODY[6:16, 4:20] = True
EXPOSED = np.ones(SIZE, np.bool_)
EXPOSED[:, 18:] = False
SHIFT = (3.0, -2.0)
PAIR = KnownPair(
    "shifted",
    RegistrationImage(np.zeros(SIZE, np.float32)),
    RegistrationImage(np.zeros(SIZE, np.float32), valid=EXPOSED),
    BODY,
    pixel_places(SIZE) + SHIFT,
)


def test_an_organ_lands_where_the_truth_puts_it() -> None:
    """A mask moves with the truth and ends where the X-ray does."""
    expected = np.zeros(SIZE, np.bool_)
    expected[4:14, 7:18] = True
    assert np.array_equal(landed(BODY, PAIR), expected)


def test_only_what_the_xray_shows_counts() -> None:
    """Body that the truth puts beyond the exposed part is left out."""
    expected = BODY.copy()
    expected[:, 15:] = False
    assert np.array_equal(shown(PAIR), expected)


def test_boxes_alone_say_a_similarity() -> None:
    """Boxes that moved by the truth give its shift everywhere."""
    boxes = ((4.0, 4.0, 10.0, 12.0), (12.0, 5.0, 19.0, 15.0))
    pairs = tuple((Box(a, b, c, d), Box(a + 3, b - 2, c + 3, d - 2)) for a, b, c, d in boxes)
    assert np.allclose(OutlinedPair(PAIR, pairs).moved, PAIR.truth)


@pytest.mark.parametrize(("masked", "costs"), [(1.04, False), (1.06, True)])
def test_more_than_five_percent_is_a_cost(masked: float, costs: bool) -> None:
    """A case costs from 1.05 times the error without masks on."""
    assert case(1.0, masked).costs is costs


def test_the_gain_is_what_masks_save_less_what_they_spoil() -> None:
    """Pairs that are found or lost either way count for nothing; the interval lies around the gain."""
    saved, spoilt, found, lost = case(50.0, 1.0), case(1.0, 50.0), case(1.0, 2.0), case(50.0, 4.0)
    figures = gain([saved] * 5 + [spoilt] + [found] * 2 + [lost] * 2)
    assert figures["gain"] == pytest.approx(0.4)
    assert figures["gain_low"] < 0.4 < figures["gain_high"]
    assert set(gain([saved] * 3).values()) == {1.0}


def case(without: float, masked: float) -> Case:
    return Case("", Errors(without, 1.0), Errors(masked, 1.0), Errors(1.0, 1.0), 1.0, 0.1, ())
