"""Tests of the figures that describe a fit."""

from __future__ import annotations

import numpy as np
import pytest

from services.fusion.quality import body_mask, match_loss, overlap_fraction, target_dice
from tests.unit.fusion.phantoms import body_phantom, motion, moved, other_modality

EVERYWHERE = np.ones((256, 256), bool)


def test_dice_of_known_masks() -> None:
    """Dice is twice the common area over the sum of both; empty masks agree."""
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert target_dice(first, second) == 1.0
    first[:2], second[1:3] = True, True
    assert target_dice(first, second) == 0.5
    assert target_dice(first, ~first) == 0.0


def test_body_is_what_is_not_background() -> None:
    """The body of a phantom is its outline with the dark organ inside, in either modality's grey levels."""
    picture = body_phantom()
    truth = picture > 0.17
    for shown in (picture, picture * 3000 - 1000):
        assert target_dice(body_mask(shown, EVERYWHERE), truth) > 0.97


def test_body_leaves_out_padding() -> None:
    """Padding is never body, whatever its value."""
    picture = body_phantom()
    usable = EVERYWHERE.copy()
    usable[:60] = False
    picture[:60] = 99.0
    assert not body_mask(picture, usable)[:60].any()


def test_overlap_is_the_covered_share_of_the_body() -> None:
    """The overlap fraction counts body pixels only, and is zero where there is no body."""
    body = np.zeros((4, 4), bool)
    covered = body.copy()
    assert overlap_fraction(body, covered) == 0.0
    body[:, :2], covered[:2] = True, True
    assert overlap_fraction(body, covered) == 0.5


def test_match_loss_is_smallest_when_aligned() -> None:
    """Match_Loss is 0 for equal images, grows with misalignment, and does not see brightness and contrast."""
    picture = body_phantom()
    assert match_loss(picture, picture * 50 - 7, EVERYWHERE) == pytest.approx(0.0, abs=1e-5)
    losses = [match_loss(picture, moved(picture, motion((256, 256), shift=(s, 0))), EVERYWHERE) for s in (0, 3, 9)]
    assert losses[0] < losses[1] < losses[2]


def test_match_loss_leaves_out_unusable_pixels() -> None:
    """Pixels that are not usable, and their neighbours, change nothing."""
    picture = body_phantom()
    other = other_modality(picture)
    usable = EVERYWHERE.copy()
    usable[:, 200:] = False
    expected = match_loss(picture, other, usable)
    spoiled = np.where(usable, other, np.float32(1e4))
    assert match_loss(picture, spoiled, usable) == pytest.approx(expected)
    assert match_loss(picture, other, ~EVERYWHERE) == 0.0
