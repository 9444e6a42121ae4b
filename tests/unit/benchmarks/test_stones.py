"""The arithmetic of the stone benchmark."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.stones import RegionOption, Stone, box_iou, contains, figures, jittered, yolo_box
from hilum import Box, Image
from hilum.types import BoolMask

TRUTH = Box(19.5, 29.5, 29.5, 39.5)
DRAWN = Box(21.5, 29.5, 31.5, 39.5)


def test_boxes_are_read_from_shares_of_the_image() -> None:
    """A YOLO box that covers ten columns and ten rows has its edges at pixel borders."""
    line = f"0 {25 / 100} {35 / 80} {10 / 100} {10 / 80}"
    box = yolo_box(line, (80, 100))
    assert [box.x_min, box.y_min, box.x_max, box.y_max] == pytest.approx([19.5, 29.5, 29.5, 39.5])


def test_jitter_stays_within_its_bounds_and_the_image() -> None:
    """Edges move by 5 px and swap where they cross; a box keeps a pixel of extent and stays in the image."""
    random = np.random.default_rng(1)
    for truth in (TRUTH, Box(-0.5, -0.5, 1.5, 1.5), Box(96.5, 76.5, 99.5, 79.5)):
        for _ in range(200):
            drawn = jittered(truth, (80, 100), random)
            assert -0.5 <= drawn.x_min < drawn.x_max <= 99.5
            assert -0.5 <= drawn.y_min < drawn.y_max <= 79.5
            assert abs(drawn.x_min - truth.x_min) <= 5 + (truth.x_max - truth.x_min) + 1


def test_iou_and_containment() -> None:
    """Half-shifted boxes share a third, no box shares nothing, and no point lies nowhere."""
    assert box_iou(TRUTH, TRUTH) == 1
    assert box_iou(Box(24.5, 29.5, 34.5, 39.5), TRUTH) == pytest.approx(1 / 3)
    assert box_iou(Box(60, 60, 70, 70), TRUTH) == 0
    assert box_iou(None, TRUTH) == 0
    assert contains(TRUTH, (24, 34))
    assert not contains(TRUTH, (30, 34))
    assert not contains(TRUTH, None)


def test_gains_are_measured_against_the_drawn_box() -> None:
    """A segmenter that finds the stone only with a region gains with it, and loses the drawn box's IoU without."""

    def segment(image: Image, boxes: Sequence[Box], region: RegionOption) -> list[BoolMask]:
        mask = np.zeros(image.size, np.bool_)
        if region == "auto":
            mask[30:40, 20:30] = True
        return [mask for _ in boxes]

    drawn_iou = box_iou(DRAWN, TRUTH)
    found = figures(segment, [(Image(np.zeros((80, 100), np.uint8)), [Stone(TRUTH, DRAWN)])])
    assert found == {
        "stones_box_gain_without_region": pytest.approx(-drawn_iou),
        "stones_centre_inside_without_region": 0,
        "stones_box_gain_with_region": pytest.approx(1 - drawn_iou),
        "stones_centre_inside_with_region": 1,
    }
