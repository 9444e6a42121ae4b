"""The JSON report: measurements with units, scores as they are, provenance."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.geometry import DetectorFrame, Frame, ImageGeometry, PatientFrame, PixelFrame, PlaneFrame
from hilum.results.report import report, write_report
from hilum.types import Box, Image, ImageSource, Point, Prompt
from tests.unit.results.conftest import DECODER_REVISION, ENCODER_REVISION, MODEL, disc, predicted, prediction

SOURCE = ImageSource("1.2.3", 7, "CT", "L", simulated=True)


def image_in(frame: Frame) -> Image:
    """An image in a frame."""
    return Image(np.zeros((40, 60), np.int16), ImageGeometry(frame), source=SOURCE)


def test_measurements_are_in_millimetres_where_spacing_is_known() -> None:
    """Area and longest diameter come in pixels and in mm, with anisotropic pixels measured as they are."""
    mask = np.zeros((40, 60), np.bool_)
    mask[10, 5:25] = True
    (segment,) = report(image_in(PlaneFrame((0.5, 2.0))), prediction(SOURCE, mask))["segments"]
    assert segment["area_px"] == 20
    assert segment["area_mm2"] == pytest.approx(20)
    assert segment["longest_diameter_px"] == pytest.approx(20)
    assert segment["longest_diameter_mm"] == pytest.approx(10)
    assert segment["longest_diameter_ends_px"] in ([[4.5, 10], [24.5, 10]], [[24.5, 10], [4.5, 10]])
    assert segment["bounding_box_px"] == [4.5, 9.5, 24.5, 10.5]


@pytest.mark.parametrize(
    ("frame", "name", "spacing", "note"),
    [
        (PatientFrame((0, 0, 0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0.5, 0.5, 1)), "PATIENT_LPS", [0.5, 0.5], ""),
        (DetectorFrame((0.4, 0.4), 2), "DETECTOR_PLANE", [0.2, 0.2], ""),
        (DetectorFrame((0.4, 0.4)), "DETECTOR_PLANE", None, "magnification"),
        (PixelFrame(), "PIXELS", None, "not calibrated"),
    ],
)
def test_lengths_that_are_not_known_say_why(frame: Frame, name: str, spacing: Any, note: str) -> None:
    """No millimetres are made up: they are null, with the reason."""
    content = report(image_in(frame), prediction(SOURCE, disc((40, 60), 30, 20, 5)))
    assert content["image"]["frame"] == name
    assert content["image"]["spacing_mm"] == spacing
    assert note in content["image"]["length_note"]
    assert (content["segments"][0]["area_mm2"] is None) == (spacing is None)


def test_provenance_and_notice_are_written(tmp_path: Path) -> None:
    """The file names instance, frame, side, model and revisions, and says that it is not for diagnosis."""
    prompts = [Prompt(box=Box(1, 2, 3, 4)), Prompt(points=(Point(5, 6), Point(7, 8, foreground=False)))]
    empty = np.zeros((40, 60), np.bool_)
    path = tmp_path / "report.json"
    answer = prediction(SOURCE, disc((40, 60), 30, 20, 5), empty)
    write_report(path, image_in(PixelFrame()), answer, prompts=prompts, labels=["stone", "clot"])
    content = json.loads(path.read_text())
    assert content["notice"] == "not for diagnosis"
    assert content["source"] == {
        "sop_instance_uid": "1.2.3",
        "frame_number": 7,
        "modality": "CT",
        "laterality": "L",
        "simulated": True,
    }
    assert content["model"] == {
        "name": MODEL,
        "encoder_revision": ENCODER_REVISION,
        "decoder_revision": DECODER_REVISION,
    }
    stone, clot = content["segments"]
    assert (stone["label"], stone["model_score"], stone["stability_score"]) == ("stone", 0.9, 0.8)
    assert stone["prompt"] == {"box_px": [1, 2, 3, 4], "points_px": [], "mask_input": False}
    assert clot["prompt"]["points_px"] == [[5, 6, "foreground"], [7, 8, "background"]]
    assert clot["empty_reason"] == "NO_LOGIT_ABOVE_THRESHOLD"
    assert [(segment["expected_iou"], segment["abstain"]) for segment in (stone, clot)] == [(None, None)] * 2
    assert (clot["area_px"], clot["longest_diameter_px"], clot["bounding_box_px"]) == (0, None, None)


def test_expected_iou_and_abstention_are_written_where_they_are_known() -> None:
    """On a calibrated modality the report holds what the score is worth beside the score."""
    mask = predicted(disc((40, 60), 30, 20, 5), 0.7, expected_iou=0.4, abstain=True)
    answer = replace(prediction(SOURCE), masks=((mask,),))
    (segment,) = report(image_in(PixelFrame()), answer)["segments"]
    assert (segment["model_score"], segment["expected_iou"], segment["abstain"]) == (0.7, 0.4, True)
