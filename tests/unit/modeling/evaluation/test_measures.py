"""modeling.evaluation.measures: overlap, surfaces, centres and diameters."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hilum.types import BoolMask, Box
from modeling.evaluation import measures
from modeling.evaluation.measures import Counts

MASKS = arrays.arrays(np.bool_, (9, 11), elements=st.booleans())


def _square(row: int, column: int, side: int, size: int = 64) -> BoolMask:
    mask = np.zeros((size, size), np.bool_)
    mask[row : row + side, column : column + side] = True
    return mask


def _placement(mask: BoolMask, spacing: tuple[float, float]) -> dict[str, float]:
    """Of a mask against a square of 20 px at (20, 20)."""
    truth = measures.place(_square(20, 20, 20), spacing)
    assert truth is not None
    return measures.placement(truth, measures.place(mask, spacing), spacing)


@settings(deadline=None)
@given(MASKS, MASKS)
def test_measures_of_one_mask_keep_their_relations(truth: BoolMask, mask: BoolMask) -> None:
    """All measures lie in [0, 1], IoU = D / (2 - D), and Dice is the harmonic mean of precision and recall."""
    found = measures.overlap(truth, mask)
    assert all(0 <= found[name] <= 1 for name in ("accuracy", "precision", "recall", "iou", "dice"))
    assert found["iou"] == pytest.approx(found["dice"] / (2 - found["dice"]))
    assert found["tp"] + found["fp"] + found["fn"] + found["tn"] == truth.size
    if found["precision"] + found["recall"]:
        harmonic = 2 * found["precision"] * found["recall"] / (found["precision"] + found["recall"])
        assert found["f1"] == pytest.approx(harmonic)


@settings(deadline=None)
@given(MASKS, MASKS)
def test_exchanging_truth_and_mask_exchanges_precision_and_recall(truth: BoolMask, mask: BoolMask) -> None:
    """Dice and IoU do not care which of two masks is the truth; precision and recall change places."""
    one, other = Counts.of(truth, mask), Counts.of(mask, truth)
    assert (one.dice, one.iou, one.accuracy) == (other.dice, other.iou, other.accuracy)
    assert (one.precision, one.recall) == (other.recall, other.precision)


@settings(deadline=None)
@given(MASKS)
def test_a_mask_fits_itself(mask: BoolMask) -> None:
    """Every overlap measure of a mask with itself is 1, of an empty one too."""
    found = measures.overlap(mask, mask)
    assert [found[name] for name in ("accuracy", "precision", "recall", "iou", "dice")] == [1] * 5


def test_an_empty_answer_to_a_target_is_worth_nothing() -> None:
    """An empty mask of a target has precision, recall, Dice and surface Dice 0, and counts as empty and not found."""
    truth, empty = _square(5, 5, 10), np.zeros((64, 64), np.bool_)
    found = measures.overlap(truth, empty) | measures.surfaces(truth, empty)
    assert [found[name] for name in ("precision", "recall", "dice", "surface_dice", "found")] == [0] * 5
    assert found["empty"] == 1
    assert found["hausdorff95_px"] == pytest.approx(math.hypot(64, 64))


def test_surfaces_of_a_shifted_square() -> None:
    """A square moved by 6 px has a Hausdorff distance of 6 px, or 3 mm at .5 mm; moved by 1 px its surfaces agree."""
    truth = _square(20, 20, 20)
    assert measures.surfaces(truth, _square(20, 26, 20))["hausdorff95_px"] == pytest.approx(6)
    assert measures.surfaces(truth, _square(20, 26, 20), (0.5, 0.5))["hausdorff95_mm"] == pytest.approx(3)
    assert measures.surfaces(truth, _square(20, 21, 20))["surface_dice"] == 1
    assert measures.surfaces(truth, _square(20, 26, 20))["surface_dice"] < 0.7


def test_surfaces_take_spacing_as_x_and_y() -> None:
    """With pixels of 2 mm by 1 mm a shift of 6 px along x is 12 mm, along y 6 mm."""
    truth = _square(20, 20, 20)
    assert measures.surfaces(truth, _square(20, 26, 20), (2.0, 1.0))["hausdorff95_mm"] == pytest.approx(12)
    assert measures.surfaces(truth, _square(26, 20, 20), (2.0, 1.0))["hausdorff95_mm"] == pytest.approx(6)


def test_surfaces_at_the_image_border() -> None:
    """A target that touches the border is measured like any other."""
    truth = _square(0, 0, 20)
    assert measures.surfaces(truth, truth) == {"hausdorff95_px": 0, "surface_dice": 1}


def test_placement_in_millimetres() -> None:
    """Centre and diameter errors are in mm of the spacing, x and y each by their own; the diameter's sign is kept."""
    moved = _placement(_square(24, 23, 20), (2.0, 0.5))
    assert moved == {"centre_error_mm": pytest.approx(math.hypot(6, 2)), "diameter_error_mm": pytest.approx(0)}
    smaller = _placement(_square(25, 25, 10), (1.0, 1.0))
    assert smaller["diameter_error_px"] < -10
    assert all(math.isnan(value) for value in _placement(np.zeros((64, 64), np.bool_), (1.0, 1.0)).values())


def test_a_target_known_by_its_box() -> None:
    """Gain is the mask's box IoU less the drawn box's; a hit has its centre inside and at most twice its size."""
    truth, drawn = Box(19.5, 19.5, 29.5, 29.5), Box(14.5, 19.5, 24.5, 29.5)
    fits = measures.against_box(truth, _square(20, 20, 10), drawn)
    assert fits["box_gain"] == pytest.approx(1 - 1 / 3)
    assert (fits["hit"], fits["found"], fits["centre_inside"]) == (1, 1, 1)
    huge = measures.against_box(truth, _square(0, 0, 50), None)
    assert (huge["centre_inside"], huge["hit"]) == (1, 0)
    nothing = measures.against_box(truth, np.zeros((64, 64), np.bool_), drawn)
    assert (nothing["hit"], nothing["empty"], nothing["box_iou"]) == (0, 1, 0)


def test_object_counts() -> None:
    """Three targets, one found, one answered wrongly, one not at all: precision 1/2, recall 1/3."""
    counts = measures.object_counts(np.array([1.0, 0, 0]), np.array([0.0, 0, 1]))
    assert (counts.tp, counts.fp, counts.fn) == (1, 1, 2)
    assert counts.precision == pytest.approx(1 / 2)
    assert counts.recall == pytest.approx(1 / 3)
