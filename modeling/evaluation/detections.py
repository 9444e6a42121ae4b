"""Boxes of any detector as prompts: masks matched to targets, false ones counted.

The file is JSON, boxes (x_min, y_min, x_max, y_max) in pixels by sample, pixel centres at integers:

    {"stone-17": [[10.5, 20.5, 18.5, 30.5], [200.5, 40.5, 210.5, 52.5]]}
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from hilum.errors import HilumError
from hilum.masks import bounding_box
from hilum.types import BoolMask, Box, Prompt
from modeling.evaluation import geometry
from modeling.evaluation.case import Case, Trial
from modeling.evaluation.outcome import Outcome, measured
from modeling.evaluation.predictor import Predictor
from modeling.evaluation.studies import DETECTED
from modeling.sample import Sample


class DetectionsError(HilumError):
    """A file of detected boxes is missing or not as described above."""


def read_detections(path: Path) -> dict[str, list[Box]]:
    """Boxes by sample.

    Raises:
        DetectionsError: the file is missing, is not such JSON, or a box is not four finite numbers in order.
    """
    try:
        found = {
            str(name): [Box(*map(float, box)) for box in boxes]
            for name, boxes in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DetectionsError(f"{path} is not a file of detected boxes: {error}") from error
    for name, boxes in found.items():
        for box in boxes:
            if not (np.isfinite(list(vars(box).values())).all() and box.x_min < box.x_max and box.y_min < box.y_max):
                raise DetectionsError(f"{path}: {name!r} has a box that is not x_min < x_max, y_min < y_max: {box}")
    return found


def evaluate_detections(predictor: Predictor, sample: Sample, boxes: Sequence[Box]) -> list[Outcome]:
    """Outcomes of one image: one for each target, its best matching mask or an empty one, one for each mask left over.

    The matching has the largest sum of IoU; masks that touch no target match none. Left-over masks have target -1.
    """
    masks = [it[0] for it in predictor.predict([Prompt(box=box) for box in boxes]).masks] if boxes else []
    overlaps = np.array([[_overlap(sample, number, mask) for mask in masks] for number in range(len(sample.targets))])
    overlaps = overlaps.reshape(len(sample.targets), len(masks))
    pairs = zip(*linear_sum_assignment(-overlaps), strict=True)
    matched: Mapping[int, int] = {int(row): int(column) for row, column in pairs if overlaps[row, column] > 0}
    outcomes = []
    for number in range(len(sample.targets)):
        column = matched.get(number)
        mask = np.zeros(sample.size, np.bool_) if column is None else masks[column]
        prompt = Prompt() if column is None else Prompt(box=boxes[column])
        outcomes.append(measured(predictor.name, Case(sample, number, 0.0), Trial(DETECTED, mask, prompt)))
    left = [mask for index, mask in enumerate(masks) if index not in matched.values()]
    return outcomes + [_false(predictor.name, sample, mask) for mask in left]


def _overlap(sample: Sample, number: int, mask: BoolMask) -> float:
    target = sample.targets[number]
    if target.mask is None:
        return geometry.box_iou(bounding_box(mask), target.box)
    return geometry.iou(target.mask, mask)


def _false(model: str, sample: Sample, mask: BoolMask) -> Outcome:
    label = sample.targets[0].label if sample.targets else ""
    values = {"found": 0.0, "empty": float(not mask.any())}
    patient = f"{sample.source}/{sample.patient}"
    where = (sample.source, sample.modality, patient, sample.name, -1, label, sample.simulated)
    return Outcome(model, DETECTED, *where, values)
