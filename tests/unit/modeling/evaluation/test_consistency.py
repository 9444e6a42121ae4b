"""modeling.evaluation.consistency: means that can be true together, and means that cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.evaluation.consistency import contradictions, f1_of, iou_of

COUNTS = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))


@settings(deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_means_over_real_masks_never_contradict(masks: list[tuple[int, int, int]]) -> None:
    """Whatever the masks, their mean figures pass: the inequalities are theorems."""
    rows = []
    for tp, fp, fn in masks:
        precision, recall = tp / (tp + fp) if tp + fp else 0.0, tp / (tp + fn)
        rows.append((2 * tp / (2 * tp + fp + fn), tp / (tp + fp + fn), precision, recall, f1_of(precision, recall)))
    means = np.mean(rows, axis=0).tolist()
    assert contradictions(dict(zip(("dice", "iou", "precision", "recall", "f1"), means, strict=True)), 1e-9) == []


def test_figures_that_cannot_be_true_together_are_named() -> None:
    """A mean IoU below D / (2 - D) or above D, and an F1 above that of mean P and R, are each reported."""
    assert "below 0.7984" in contradictions({"dice": 0.8879, "iou": 0.7843})[0]
    assert "above mean Dice" in contradictions({"dice": 0.5, "iou": 0.6})[0]
    assert "above 0.6667" in contradictions({"precision": 0.5, "recall": 1.0, "f1": 0.7})[0]


def test_rounding_is_forgiven() -> None:
    """Figures of three digits are not accused of what rounding did."""
    exact = iou_of(0.9)
    assert contradictions({"dice": 0.9, "iou": round(exact, 3) - 0.0005}, rounding=5e-4) == []
    assert iou_of(0.8) == pytest.approx(2 / 3)
