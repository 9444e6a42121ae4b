"""`hilum segment --everything` against the fakes, which find a disc at every point of the grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
from pydicom.data import get_testdata_file

from hilum import GenerationParameters
from hilum.testing import FakeEncoder
from tests.unit.cli.conftest import Command

COARSE = ("--everything", "--points-per-side", "4")


def test_what_is_found_is_measured_and_counted(hilum: Command, picture: Path) -> None:
    """The ten largest masks have a row with sizes and score; all are counted, and scores are not called calibrated."""
    outcome = hilum("segment", picture, *COARSE)
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines() if line[:1].isdigit() and "masks" not in line]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 11)]
    areas = [int(row[1]) for row in rows]
    assert areas == sorted(areas, reverse=True)
    assert {row[-1] for row in rows} == {"0.90"}
    assert "16 masks found; the 10 largest are shown" in outcome.out
    assert "sizes are in pixels only" in outcome.out
    assert "Not for diagnosis." in outcome.out
    assert "not calibrated" in outcome.out
    assert "IoU" not in outcome.out


def test_picture_and_report_are_written(hilum: Command, picture: Path, tmp_path: Path) -> None:
    """One call writes the picture and a report with model, parameters and every mask."""
    png, report = tmp_path / "x.PNG", tmp_path / "x.json"
    outcome = hilum("segment", picture, *COARSE, "--stability-score-thresh", "0.5", "--out", png, "--out", report)
    assert outcome.code == 0, outcome.err
    with PIL.Image.open(png) as written:
        assert written.format == "PNG"
        assert np.ptp(np.asarray(written).astype(int), axis=2).max() > 40
    content = json.loads(report.read_text())
    assert len(content["masks"]) == 16
    assert content["model"]["name"]
    assert (content["parameters"]["points_per_side"], content["parameters"]["stability_score_thresh"]) == (4, 0.5)


def test_parameters_not_given_are_those_of_segment_anything(hilum: Command, picture: Path, tmp_path: Path) -> None:
    """Without options the search is SamAutomaticMaskGenerator's own, and thresholds given take effect."""
    report = tmp_path / "x.json"
    assert hilum("segment", picture, "--everything", "--out", report).code == 0
    content = json.loads(report.read_text())
    assert GenerationParameters(**content["parameters"]) == GenerationParameters()
    options = ("--pred-iou-thresh", "0.95", "--min-mask-region-area", "5", "--out", report)
    outcome = hilum("segment", picture, *COARSE, *options)
    assert outcome.code == 0, outcome.err
    assert "0 masks found" in outcome.out
    assert json.loads(report.read_text())["parameters"]["min_mask_region_area"] == 5


def test_labels_lie_in_the_patient(hilum: Command, tmp_path: Path) -> None:
    """Of a slice in the patient a label image is written, whose numbers are those of the report."""
    source, labels, report = get_testdata_file("CT_small.dcm"), tmp_path / "x.nii.gz", tmp_path / "x.json"
    outcome = hilum("segment", source, *COARSE, "--preset", "soft-tissue", "--out", labels, "--out", report)
    assert outcome.code == 0, outcome.err
    read: Any = nibabel.load(labels)
    numbers = [mask["number"] for mask in json.loads(report.read_text())["masks"]]
    assert set(np.unique(np.asarray(read.dataobj)).tolist()) == {0, *numbers}


def test_a_file_that_cannot_be_written_does_not_cost_the_others(hilum: Command, picture: Path, tmp_path: Path) -> None:
    """A picture has no place in a patient for labels: that is told, the report is written all the same, and 1."""
    report = tmp_path / "x.json"
    outcome = hilum("segment", picture, *COARSE, "--out", tmp_path / "x.nii.gz", "--out", report)
    assert outcome.code == 1
    assert "FRAME_NOT_SUPPORTED" in outcome.err
    assert report.is_file()


def test_a_model_of_boxes_says_why_it_cannot(hilum: Command, picture: Path) -> None:
    """A model that was not trained on points refuses, and its reason is shown."""
    outcome = hilum("segment", picture, *COARSE, "--model", "boxes")
    assert outcome.code == 1
    assert "boxes was not trained on points" in outcome.err
    assert "`hilum doctor` lists the prompts" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--everything", "--click", "5,5"], "without prompts: leave --click away"),
        (["--everything", "--box", "1,1,9,9", "--refine"], "leave --box, --refine away"),
        (["--everything", "--not", "5,5"], "leave --not away"),
        (["--everything", "--label", "one"], "leave --label away"),
        (["--everything", "--whole-image"], "leave --whole-image away"),
        (["--everything", "--candidates"], "leave --candidates away"),
        (["--click", "5,5", "--points-per-side", "8"], "goes with --everything only"),
        (["--click", "5,5", "--pred-iou-thresh", "0.88"], "goes with --everything only"),
        (["--everything", "--points-per-side", "129"], "less than or equal to 128"),
        (["--everything", "--out", "x.seg.dcm"], "says of each segment what it is"),
        (["--everything", "--out", "x.gif"], "give a name that ends in .png"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_sent(
    hilum: Command, encoder: FakeEncoder, picture: Path, options: list[str], words: str
) -> None:
    """Prompts beside --everything, its parameters without it, and files that it cannot fill are usage errors."""
    outcome = hilum("segment", picture, *options)
    assert outcome.code == 2
    assert words in outcome.complaint
    assert encoder.encoder_runs == 0
