"""`hilum pose`: what is decided on this side of the wire."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from rich.console import Console

from hilum import ConeBeam, EstimatedPose, ParallelBeam
from hilum.cli.pose import FLAGS, flag_lines, pose_report
from hilum.codec.poses import FLAG_NAMES
from hilum.errors import InvalidField
from hilum.pose import UnseenMotion, ViewAgreement
from hilum.pose_file import read_radiographs, write_pose

DETECTOR = {"origin_mm": [-10, 200, 15], "spacing_mm": [0.5, 0.5, 0], "direction": [1, 0, 0, 0, 0, 1, 0, -1, 0]}
CONE = {"source_mm": [0, -900, 0]}
FOUND = EstimatedPose(
    patient_to_room=np.eye(4),
    views=(ViewAgreement(0.75, 0.5),),
    unseen=(UnseenMotion((0.0, 0.0, 0.1), (0.0, 1.0, 0.0), None), UnseenMotion((0.5, 0.0, 0.0), (0.0, 0.0, 0.1), 3.25)),
    flags=("DEPTH_UNOBSERVED",),
    algorithm="x-1",
    total_ms=12.0,
)


def _file(folder: Path, **content: Any) -> Path:
    levels = np.random.default_rng(0).integers(0, 60000, (20, 30)).astype(np.uint16)
    PIL.Image.fromarray(levels).save(folder / "ap.png")
    path = folder / "radiographs.json"
    path.write_text(json.dumps(content))
    return path


def test_radiographs_are_read_with_their_geometry(tmp_path: Path) -> None:
    """Images beside the file come with detector, beam and initial pose as the file has them."""
    entries = [
        {"image": "ap.png", "detector": DETECTOR, "cone": CONE},
        {"image": "ap.png", "detector": DETECTOR, "parallel": {"direction": [0, 1, 0]}, "padding_value": 3},
    ]
    shift = (np.eye(4) + np.eye(4, k=3)).ravel().tolist()
    (first, second), initial = read_radiographs(_file(tmp_path, radiographs=entries, initial_pose=shift))
    assert first.pixels.shape == (20, 30)
    assert first.pixels.dtype == np.uint16
    assert first.detector.origin_mm == (-10, 200, 15)
    assert first.beam == ConeBeam((0, -900, 0))
    assert second.beam == ParallelBeam((0, 1, 0))
    assert second.padding_value == 3
    assert initial is not None
    assert initial[0, 3] == 1
    assert read_radiographs(_file(tmp_path, radiographs=entries))[1] is None


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "radiographs.json"),
        ({"radiographs": 3}, "radiographs.json"),
        ({"radiographs": [], "pose": []}, "radiographs.json"),
        ({"radiographs": [{}]}, "radiographs[0]"),
        ({"radiographs": [{"image": "ap.png", "sensor": {}}]}, "radiographs[0]"),
        ({"radiographs": [{"image": "ap.png", "cone": CONE}]}, "radiographs[0].detector"),
        ({"radiographs": [{"image": "ap.png", "detector": DETECTOR}]}, "radiographs[0].beam"),
        ({"radiographs": [], "initial_pose": [1, 2]}, "initial_pose"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: dict[str, Any], field: str) -> None:
    """What is missing or means nothing is refused by name, before anything is sent."""
    with pytest.raises(InvalidField) as caught:
        read_radiographs(_file(tmp_path, **content))
    assert caught.value.field == field


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """Any other file is refused as such."""
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\x00")
    with pytest.raises(InvalidField):
        read_radiographs(path)


def test_a_pose_is_written_as_the_contract_has_it(tmp_path: Path) -> None:
    """The file holds the matrix, the agreement, the flags, and an error only where it is known."""
    write_pose(tmp_path / "pose.json", FOUND)
    written = json.loads((tmp_path / "pose.json").read_text())
    assert written["patient_to_room"] == np.eye(4).ravel().tolist()
    assert written["flags"] == ["POSE_FLAG_DEPTH_UNOBSERVED"]
    assert "standard_error_mm" not in written["unseen_motions"][0]
    assert written["unseen_motions"][1]["standard_error_mm"] == 3.25


def test_the_report_says_what_is_not_seen() -> None:
    """Every unseen motion is named, with its standard error or as unknown, and every flag has its meaning in words."""
    text = StringIO()
    Console(file=text, width=120).print(pose_report(FOUND))
    assert "shift (0.00, 1.00, 0.00) mm with turn (0.00, 0.00, 0.10) degrees: unknown" in text.getvalue()
    assert "standard error 3.2 mm" in text.getvalue()
    assert "FLAG DEPTH_UNOBSERVED" in text.getvalue()
    assert set(FLAGS) == FLAG_NAMES
    assert flag_lines(()) == ["no quality flags"]
    assert "FLAG NEW" in flag_lines(("NEW",))[0]
