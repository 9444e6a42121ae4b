"""What a model's score has been worth: a curve from scores to expected IoU, measured on one DICOM modality."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from hilum.errors import BundleError

# DICOM PS3.5 6.2, value representation CS, of which an attribute's value has one character at least.
_MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")


@dataclass(frozen=True)
class ScoreCalibration:
    """What the model's score stands for on images of one modality; `modeling.calibration` measures it.

    Attributes:
        scores: Knots, model scores (`iou_prediction`) that increase.
        expected_iou: Mean IoU with the truth at each knot, in [0, 1], not decreasing; linear between knots, constant
            outside.
        abstain_below: The service abstains where the expected IoU is below this.
        patients: On how many patients it was measured.
        answers: On how many masks.

    Raises:
        BundleError: When built from values that are no such curve; says what is wrong.
    """

    scores: tuple[float, ...]
    expected_iou: tuple[float, ...]
    abstain_below: float
    patients: int
    answers: int

    def __post_init__(self) -> None:
        numbers = (*self.scores, *self.expected_iou, self.abstain_below)
        if not self.scores or len(self.scores) != len(self.expected_iou):
            raise BundleError("calibration: scores and expected_iou must be as many, at least one")
        if not all(math.isfinite(number) for number in numbers):
            raise BundleError("calibration: every number must be finite")
        if not all(lower < upper for lower, upper in pairwise(self.scores)):
            raise BundleError("calibration: scores must increase")
        if not all(lower <= upper for lower, upper in pairwise(self.expected_iou)):
            raise BundleError("calibration: expected_iou must not decrease")
        if not all(0 <= value <= 1 for value in (*self.expected_iou, self.abstain_below)):
            raise BundleError("calibration: expected_iou and abstain_below must lie in [0, 1]")
        if not 1 <= self.patients <= self.answers:
            raise BundleError("calibration: there must be patients, each with at least one answer")

    def at(self, score: float) -> float:
        """Returns the expected IoU of a mask with this model score."""
        return float(np.interp(score, self.scores, self.expected_iou))

    def to_plain(self) -> dict[str, Any]:
        """Returns the values as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Returns `to_plain`'s values as a calibration.

        Raises:
            BundleError: They are no calibration.
            TypeError, ValueError, KeyError: They have other types or names; who reads the file reports it.
        """
        values = dict(plain)
        scores, expected = (tuple(float(value) for value in values.pop(name)) for name in ("scores", "expected_iou"))
        return cls(scores, expected, float(values.pop("abstain_below")), **values)


def is_modality(text: str) -> bool:
    """Returns whether a text has the form of DICOM Modality (0008,0060), such as "CT"."""
    return _MODALITY.fullmatch(text) is not None
