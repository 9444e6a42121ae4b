"""How well a mask fits its target: overlap, surfaces, centre and diameter.

Conventions where a quotient has no denominator: the precision of an empty mask is 0 unless the target is empty too;
overlap of two empty masks is 1. An empty mask has surface Dice 0, a Hausdorff distance of the image's diagonal, and no
centre or diameter (NaN: the object is counted as missed).
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import surface_distance
from numpy.typing import NDArray

from hilum.masks import bounding_box, centroid, longest_diameter
from hilum.types import BoolMask, Box
from modeling.evaluation import geometry

# Objects are found where the mask's IoU with the target is at least this.
FOUND_IOU = 0.5
SURFACE_TOLERANCE_PX = 2.0
# A click's answer may be this much longer than the labelled box, and no more, to count as a hit.
HIT_EXTENT = 2.0


@dataclass(frozen=True)
class Counts:
    """Pixels of one mask, or of many together (pooled).

    Attributes:
        tp: in both.
        fp: in the mask only.
        fn: in the target only.
        tn: in neither.
    """

    tp: float
    fp: float
    fn: float
    tn: float

    @classmethod
    def of(cls, truth: BoolMask, mask: BoolMask) -> Self:
        """Counts of two masks of one shape."""
        both = int(np.count_nonzero(truth & mask))
        in_mask, in_truth = int(np.count_nonzero(mask)), int(np.count_nonzero(truth))
        return cls(both, in_mask - both, in_truth - both, truth.size - in_mask - in_truth + both)

    @property
    def accuracy(self) -> float:
        """Share of pixels on which both agree; high for any mask of a small target."""
        return _share(self.tp + self.tn, self.tp + self.tn + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """Share of the mask that is target."""
        return _share(self.tp, self.tp + self.fp, self.fn == 0)

    @property
    def recall(self) -> float:
        """Share of the target that is in the mask."""
        return _share(self.tp, self.tp + self.fn, self.fp == 0)

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return _share(self.tp, self.tp + self.fp + self.fn, True)

    @property
    def dice(self) -> float:
        """2 tp / (2 tp + fp + fn); the same number as F1 of one mask, and as F1 of pooled pixels."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn, True)


@dataclass(frozen=True)
class Place:
    """Where a mask lies.

    Attributes:
        centre: (x, y) of its centre of mass, pixels.
        diameter: its longest, in the unit of the spacing it was measured with.
    """

    centre: tuple[float, float]
    diameter: float


def overlap(truth: BoolMask, mask: BoolMask) -> dict[str, float]:
    """Pixel counts and the measures made of them."""
    counts = Counts.of(truth, mask)
    names = ("accuracy", "precision", "recall", "iou", "dice")
    found = {"found": float(counts.iou >= FOUND_IOU), "empty": float(not mask.any())}
    return vars(counts) | {name: getattr(counts, name) for name in names} | {"f1": counts.dice} | found


def surfaces(truth: BoolMask, mask: BoolMask, spacing: tuple[float, float] = (1.0, 1.0)) -> dict[str, float]:
    """Hausdorff 95 and surface Dice, by Google DeepMind's surface-distance (Nikolov et al., arXiv:1809.04430).

    Args:
        truth: (height, width), not empty.
        mask: (height, width).
        spacing: (x, y) of pixel centres, mm or 1: Hausdorff 95 is in its unit; the tolerance is 2 px of its mean.
    """
    unit = "mm" if spacing != (1.0, 1.0) else "px"
    if not mask.any():
        height, width = truth.shape
        return {f"hausdorff95_{unit}": math.hypot(height * spacing[1], width * spacing[0]), "surface_dice": 0.0}
    distances = surface_distance.compute_surface_distances(truth, mask, (spacing[1], spacing[0]))
    tolerance = SURFACE_TOLERANCE_PX * (spacing[0] + spacing[1]) / 2
    return {
        f"hausdorff95_{unit}": float(surface_distance.compute_robust_hausdorff(distances, 95)),
        "surface_dice": float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)),
    }


def place(mask: BoolMask, spacing: tuple[float, float] = (1.0, 1.0)) -> Place | None:
    """Where a mask (height, width) lies, its pixel centres (x, y) spacing apart; None for an empty one."""
    centre, diameter = centroid(mask), longest_diameter(mask, spacing)
    return None if centre is None or diameter is None else Place(centre, diameter.length)


def placement(truth: Place, found: Place | None, spacing: tuple[float, float] = (1.0, 1.0)) -> dict[str, float]:
    """How far a mask's centre lies from its target's, and by how much its longest diameter is off (signed).

    Args:
        truth: of the target.
        found: of the mask; both errors are NaN where that is empty.
        spacing: (x, y) of pixel centres, mm or 1: the errors' unit.
    """
    unit = "mm" if spacing != (1.0, 1.0) else "px"
    if found is None:
        return {f"centre_error_{unit}": math.nan, f"diameter_error_{unit}": math.nan}
    x, y = found.centre[0] - truth.centre[0], found.centre[1] - truth.centre[1]
    offset = math.hypot(x * spacing[0], y * spacing[1])
    return {f"centre_error_{unit}": offset, f"diameter_error_{unit}": found.diameter - truth.diameter}


def against_box(truth: Box, mask: BoolMask, drawn: Box | None) -> dict[str, float]:
    """What can be said where a target is known by its box only.

    Args:
        truth: the annotator's box.
        mask: (height, width).
        drawn: the prompt's box; the gain over it is measured where there is one and it is not the truth.
    """
    tight = bounding_box(mask)
    found = geometry.box_iou(tight, truth)
    inside = geometry.contains(truth, centroid(mask))
    small = tight is not None and _extent(tight) <= HIT_EXTENT * _extent(truth)
    values = {"box_iou": found, "centre_inside": float(inside), "hit": float(inside and small)}
    values |= {"found": float(found >= FOUND_IOU), "empty": float(tight is None)}
    if drawn is not None and drawn != truth:
        values |= {"prompt_box_iou": geometry.box_iou(drawn, truth)}
        values |= {"box_gain": found - values["prompt_box_iou"]}
    return values


def object_counts(found: NDArray[np.float64], empty: NDArray[np.float64]) -> Counts:
    """Objects instead of pixels: found ones, answers that fit no object, objects without a fitting answer; tn is 0."""
    hits = float(np.sum(found))
    return Counts(hits, float(len(found) - np.sum(empty)) - hits, len(found) - hits, 0.0)


def _share(part: float, whole: float, empty: bool = False) -> float:
    return part / whole if whole else float(empty)


def _extent(box: Box) -> float:
    return max(box.x_max - box.x_min, box.y_max - box.y_min)
