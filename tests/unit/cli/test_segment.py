"""`hilum segment` against the fakes, whose masks are known: a box filled, a disc around a point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
import typer
from pydicom import dcmread
from pydicom.data import get_testdata_file

from hilum import Box, Point, Prompt
from hilum.cli.segment import prompts_of
from hilum.testing import FakeEncoder
from tests.unit.cli.conftest import Command

BOX, OTHER = Box(10, 10, 49, 29), Box(100, 100, 150, 160)
POINT, BACKGROUND = Point(20, 20), Point(40, 20)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A NIfTI volume of 40 x 50 x 60 voxels of 2 x 3 x 4 mm, oriented."""
    path = tmp_path / "volume.nii.gz"
    values = np.random.default_rng(1).normal(0, 100, (40, 50, 60)).astype(np.int16)
    image: Any = nibabel.Nifti1Image  # nibabel is typed in parts only
    nibabel.save(image(values, np.diag([2.0, 3.0, 4.0, 1.0])), path)
    return path


def rows(printed: str) -> list[list[str]]:
    """Returns the words of the table's rows."""
    return [line.split() for line in printed.splitlines() if line[:1].isdigit()]


def test_boxes_are_prompts_of_their_own() -> None:
    """Each box is a prompt; clicks are one more; with exactly one box they belong to it."""
    assert prompts_of([BOX, OTHER], [], []) == [Prompt(box=BOX), Prompt(box=OTHER)]
    assert prompts_of([], [POINT], [BACKGROUND]) == [Prompt(points=(POINT, Point(40, 20, foreground=False)))]
    assert prompts_of([BOX], [POINT], []) == [Prompt(points=(POINT,), box=BOX)]
    assert prompts_of([BOX], [], [BACKGROUND]) == [Prompt(points=(Point(40, 20, foreground=False),), box=BOX)]
    assert prompts_of([BOX, OTHER], [POINT], []) == [Prompt(box=BOX), Prompt(box=OTHER), Prompt(points=(POINT,))]


@pytest.mark.parametrize(("boxes", "background"), [([], []), ([], [BACKGROUND]), ([BOX, OTHER], [BACKGROUND])])
def test_prompts_that_mark_nothing_are_usage_errors(boxes: list[Box], background: list[Point]) -> None:
    """Nothing at all, and background points that belong to no target, are refused before anything is sent."""
    with pytest.raises(typer.BadParameter):
        prompts_of(boxes, [], background)


def test_a_picture_is_measured_in_pixels(hilum: Command, picture: Path) -> None:
    """Every mask has a row with its area and longest diameter in pixels and the model's score; mm are not claimed."""
    outcome = hilum("segment", picture, "--box", "9.5,9.5,49.5,29.5", "--box", "100,100,150,160")
    assert outcome.code == 0
    first, second = rows(outcome.out)
    assert first == ["1", "box", "9.5,9.5,49.5,29.5", "800", "-", "44.3", "-", "0.90"]
    assert second[:4] == ["2", "box", "100,100,150,160", str(51 * 61)]
    assert "confidence" not in outcome.out.lower()
    assert "sizes are in pixels only" in outcome.out
    assert "IoU" not in outcome.out
    assert "Model scores are not calibrated for this image." in outcome.out
    assert "embedding from the encoder" in outcome.out
    assert "Not for diagnosis." in outcome.out


def test_a_slice_of_a_volume_is_measured_in_mm(hilum: Command, volume: Path) -> None:
    """A coronal slice, 2 x 4 mm a pixel, has its sizes in mm, too, along the direction that is longest in mm."""
    outcome = hilum(
        "segment", volume, "--plane", "coronal", "--index", "7", "--window", "-50,300", "--box", "9.5,9.5,29.5,29.5"
    )
    assert outcome.code == 0
    (row,) = rows(outcome.out)
    assert row[3:5] == ["400", "3200.0"]
    in_px, in_mm = float(row[5]), float(row[6])
    assert in_px == pytest.approx(np.hypot(20, 19), abs=0.06)
    assert in_mm == pytest.approx(np.hypot(80, 38), abs=0.06)
    assert "pixels only" not in outcome.out


def test_a_click_shows_the_first_choice_of_three(hilum: Command, picture: Path) -> None:
    """Clicks are one target with one row: the mask with the highest score, and that score."""
    outcome = hilum("segment", picture, "--click", "100,100", "--click", "104,100", "--not", "150,100")
    assert outcome.code == 0, outcome.err
    (row,) = rows(outcome.out)
    assert (row[0], row[-1]) == ("1", "0.90")
    assert "click 100,100 click 104,100 not 150,100" in outcome.out


def test_candidates_are_shown_and_written_all_three(hilum: Command, picture: Path, tmp_path: Path) -> None:
    """With --candidates each target has three rows, the first choice is named, and files hold three masks of it."""
    report = tmp_path / "x.json"
    outcome = hilum("segment", picture, "--click", "100,100", "--label", "cyst", "--candidates", "--out", report)
    assert outcome.code == 0, outcome.err
    assert [row[0] for row in rows(outcome.out)] == ["1.1", "1.2", "1.3"]
    assert rows(outcome.out)[0][-2:] == ["first", "choice"]
    assert outcome.out.count("first choice") == 1
    segments = json.loads(report.read_text())["segments"]
    assert [segment["label"] for segment in segments] == [f"cyst, candidate {number}" for number in (1, 2, 3)]
    assert [segment["model_score"] for segment in segments] == [0.9, 0.8, 0.7]


def test_on_a_calibrated_modality_the_expected_iou_is_shown(hilum: Command, tmp_path: Path) -> None:
    """On CT the table has an expected IoU beside the model score, and an unsure mask says to look again."""
    source, report = get_testdata_file("CT_small.dcm"), tmp_path / "x.json"
    outcome = hilum("segment", source, "--click", "60,60", "--candidates", "--out", report)
    assert outcome.code == 0, outcome.err
    assert "expected" in outcome.out
    first, second, third = rows(outcome.out)
    assert first[-4:] == ["0.90", "0.80", "first", "choice"]
    assert second[-2:] == ["0.80", "0.70"]
    assert third[-5:] == ["0.70", "0.60", "abstains:", "look", "again"]
    assert "held-back CT images" in outcome.out
    assert [segment["abstain"] for segment in json.loads(report.read_text())["segments"]] == [False, False, True]


def test_a_modality_that_the_file_does_not_say_can_be_given(hilum: Command, picture: Path) -> None:
    """With it, scores of a plain picture are worth what they are on its modality; what is none is a usage error."""
    asked = ("segment", picture, "--box", "89.5,89.5,109.5,109.5", "--whole-image")
    assert "Model scores are not calibrated" in hilum(*asked).out
    assert "held-back CT images" in hilum(*asked, "--modality", "ct").out
    refused = hilum(*asked, "--modality", "computed tomography")
    assert refused.code == 2
    assert "--modality" in refused.err


def test_an_empty_mask_has_a_reason(hilum: Command, picture: Path) -> None:
    """A mask without pixels is a row with the reason, no error and no silence."""
    outcome = hilum("segment", picture, "--box", "10.2,10.2,10.4,10.4")
    assert outcome.code == 0
    assert "empty: no logit above threshold" in outcome.out
    assert rows(outcome.out)[0][3:8] == ["0", "-", "-", "-", "0.90"]


def test_refinement_is_reported(hilum: Command, picture: Path) -> None:
    """With --refine every mask says what refinement did."""
    outcome = hilum("segment", picture, "--box", "10,10,90,90", "--refine")
    assert "refinement: applied" in outcome.out


def test_a_small_target_is_encoded_as_a_region_unless_told_otherwise(
    hilum: Command, encoder: FakeEncoder, picture: Path
) -> None:
    """Two far small boxes are two regions, two embeddings; with --whole-image they share one."""
    small = ["--box", "10,10,20,20", "--box", "280,180,290,190"]
    hilum("segment", picture, *small)
    assert encoder.encoder_runs == 2
    hilum("segment", picture, *small, "--whole-image")
    assert encoder.encoder_runs == 3


def test_a_model_that_does_not_understand_clicks_says_so(hilum: Command, picture: Path) -> None:
    """A click for a model of boxes is refused, with the field, the reason and where to look."""
    outcome = hilum("segment", picture, "--click", "5,5", "--model", "boxes")
    assert outcome.code == 1
    assert "prompts[0].points: boxes was not trained on points" in outcome.err
    assert "`hilum doctor` lists the prompts" in outcome.err


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--frame", "2"], "pages 1 to 1"),
        (["--plane", "coronal"], "a picture has no planes"),
        (["--index", "1"], "a picture has pages"),
        (["--box", "900,900,950,950"], "prompts[1].box: lies outside"),
        (["--model", "unknown"], "MODEL_NOT_FOUND"),
    ],
)
def test_wrong_options_are_refused_by_name(hilum: Command, picture: Path, options: list[str], word: str) -> None:
    """What does not apply to the file, or is not there, is one red line that says so."""
    outcome = hilum("segment", picture, "--box", "10,10,90,90", *options)
    assert outcome.code == 1
    assert word in outcome.err


def test_a_folder_is_a_series_of_which_a_slice_is_named(hilum: Command, tmp_path: Path) -> None:
    """A folder needs --index, and one without a series says what is wrong."""
    folder = tmp_path / "series"
    folder.mkdir()
    outcome = hilum("segment", folder, "--box", "1,1,9,9")
    assert (outcome.code, "index: series is a folder: name a slice" in outcome.err) == (1, True)
    outcome = hilum("segment", folder, "--index", "0", "--box", "1,1,9,9")
    assert outcome.code == 1
    assert "series" in outcome.err


def test_exclusive_windows_are_a_usage_error(hilum: Command, picture: Path) -> None:
    """--window and --preset together are refused with 2."""
    outcome = hilum("segment", picture, "--box", "1,1,9,9", "--window", "1,2", "--preset", "liver")
    assert outcome.code == 2
    assert "give one of them" in outcome.complaint


def test_results_are_written_by_their_endings(hilum: Command, volume: Path, tmp_path: Path) -> None:
    """One call writes a picture, labels in place and a report, which agree on the mask."""
    files = [tmp_path / name for name in ("mask.PNG", "mask.nii.gz", "mask.json")]
    outs = [word for file in files for word in ("--out", file)]
    slice_of = ["--index", "7", "--percentile", "1,99"]
    outcome = hilum("segment", volume, *slice_of, "--box", "9.5,9.5,29.5,29.5", "--label", "cyst", *outs)
    assert outcome.code == 0, outcome.err
    with PIL.Image.open(files[0]) as png:
        assert png.format == "PNG"
    labels: Any = nibabel.load(files[1])
    assert int(np.asarray(labels.dataobj).sum()) == 400
    written = json.loads(files[2].read_text())
    assert written["segments"][0]["label"] == "cyst"
    assert written["segments"][0]["area_px"] == 400


def test_a_dicom_segmentation_refers_to_its_image(hilum: Command, tmp_path: Path) -> None:
    """A DICOM image's mask is written as DICOM SEG that names the image's SOP Instance UID."""
    source = Path(str(get_testdata_file("CT_small.dcm")))
    target = tmp_path / "ct.seg.dcm"
    outcome = hilum("segment", source, "--preset", "soft-tissue", "--box", "30,30,60,60", "--out", target)
    assert outcome.code == 0, outcome.err
    written = dcmread(target)
    assert written.Modality == "SEG"
    (series,) = written.ReferencedSeriesSequence
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == dcmread(source).SOPInstanceUID


def test_a_file_that_cannot_be_written_does_not_cost_the_others(hilum: Command, picture: Path, tmp_path: Path) -> None:
    """A picture has no place in a patient for NIfTI: that is told, the report is written all the same, and 1."""
    report = tmp_path / "x.json"
    outcome = hilum("segment", picture, "--box", "10,10,90,90", "--out", tmp_path / "x.nii.gz", "--out", report)
    assert outcome.code == 1
    assert "FRAME_NOT_SUPPORTED" in outcome.err
    assert report.is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "x.gif"], "give a name that ends in .png"),
        (["--out", "no/folder/x.png"], "is no folder"),
        (["--out", "x.seg.dcm"], "refers to a DICOM image"),
        (["--label", "one", "--label", "two"], "2 given for 1 targets"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_sent(
    hilum: Command, encoder: FakeEncoder, picture: Path, options: list[str], words: str
) -> None:
    """Unknown endings, missing folders, SEG of a picture and labels without a target are usage errors."""
    outcome = hilum("segment", picture, "--box", "10,10,90,90", *options)
    assert outcome.code == 2
    assert words in outcome.complaint
    assert encoder.encoder_runs == 0


def test_a_bright_target_beside_the_click_is_found_when_announced(hilum: Command, tmp_path: Path) -> None:
    """With --bright the stone beside the click is the answer, in a picture of unknown modality, too."""
    rows, columns = np.mgrid[:400, :480]
    distance = np.hypot(columns - 200, rows - 100)
    stone = tmp_path / "stone.png"
    PIL.Image.fromarray((100 + 155 * np.exp(-((distance / 4) ** 2))).astype(np.uint8)).save(stone)
    boxes = []
    for options in ([], ["--bright"]):
        written = tmp_path / "target.json"
        assert hilum("segment", stone, "--click", "188,100", *options, "--out", written).code == 0
        (segment,) = json.loads(written.read_text())["segments"]
        boxes.append(segment["bounding_box_px"])
    clicked, announced = ((box[0] + box[2]) / 2 for box in boxes)
    assert (clicked, announced) == (188, 200)
