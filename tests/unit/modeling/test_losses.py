"""modeling.losses against values worked out by hand and against properties that define them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling.losses import (
    cross_entropy_loss,
    dice_loss,
    focal_loss,
    iou_regression_loss,
    mask_iou,
    match_loss,
    ranking_loss,
)

SURE = 30.0


def _masks(seed: int, count: int = 2) -> torch.Tensor:
    return (torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) > 0.5).float()


@given(st.integers(0, 1000))
def test_a_sure_right_answer_costs_nothing_and_a_sure_wrong_one_much(seed: int) -> None:
    """Every mask loss is 0 for the truth itself and near its most for the opposite."""
    masks = _masks(seed)
    right, wrong = (2 * masks - 1) * SURE, (1 - 2 * masks) * SURE
    for loss in (focal_loss, dice_loss, cross_entropy_loss):
        assert loss(right, masks).abs().max() < 1e-3
        assert loss(wrong, masks).min() > 0.7
        assert loss(right, masks).shape == (2, 3)


def test_losses_of_an_undecided_answer() -> None:
    """At probability one half, half the pixels true: cross-entropy ln 2, focal a quarter of half of it, Dice 1/2."""
    masks = torch.zeros(1, 1, 8, 8)
    masks[..., :4] = 1
    logits = torch.zeros_like(masks)
    assert float(cross_entropy_loss(logits, masks)) == pytest.approx(math.log(2))
    assert float(focal_loss(logits, masks)) == pytest.approx(0.25 * math.log(2) * (0.25 + 0.75) / 2)
    assert float(dice_loss(logits, masks)) == pytest.approx(1 - 33 / 65)


def test_iou_counts_pixels() -> None:
    """IoU is intersection over union, and 1 where both are empty."""
    logits, masks = torch.full((1, 2, 4, 4), -1.0), torch.zeros(1, 2, 4, 4)
    logits[0, 0, :2], masks[0, 0, 1:3] = 1.0, 1.0
    assert mask_iou(logits, masks).tolist() == [[pytest.approx(1 / 3), 1.0]]
    assert iou_regression_loss(torch.tensor([[1.0, 0.5]]), logits, masks).tolist()[0] == pytest.approx([4 / 9, 0.25])


def test_ranking_asks_for_the_order_of_the_candidates() -> None:
    """Scores in the order of the IoUs and far enough apart cost nothing, reversed ones cost."""
    masks = torch.ones(1, 3, 4, 4)
    logits = torch.full((1, 3, 4, 4), 1.0)
    logits[0, 1, :2], logits[0, 2, :3] = -1.0, -1.0
    assert float(ranking_loss(torch.tensor([[0.9, 0.5, 0.1]]), logits, masks)) == 0
    assert float(ranking_loss(torch.tensor([[0.1, 0.5, 0.9]]), logits, masks)) > 0.5


@given(st.integers(0, 1000))
def test_match_loss_is_a_distance_of_outlines(seed: int) -> None:
    """|Sobel - Sobel| / N is 0 for one image, symmetric, and blind to brightness."""
    first, second = _masks(seed)[:, :1], _masks(seed + 1)[:, :1]
    assert float(match_loss(first, first).max()) == 0
    torch.testing.assert_close(match_loss(first, second), match_loss(second, first))
    torch.testing.assert_close(match_loss(first + 0.3, second), match_loss(first, second), rtol=0, atol=1e-4)


def test_match_loss_of_a_step() -> None:
    """One vertical edge of height 1 has Sobel magnitude 4 in two columns: (2 * 8 * 4) / 64 against a flat image."""
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 1
    assert float(match_loss(step, torch.zeros_like(step))) == pytest.approx(1.0, abs=1e-4)
