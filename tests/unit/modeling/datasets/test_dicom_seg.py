"""modeling.datasets.dicom_seg: DICOM images and their segmentations."""

import shutil
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import generate_uid

from hilum.errors import UnreadableImage
from hilum.images import read_image
from hilum.results.segmentation import TISSUE, write_segmentation
from hilum.types import BoolMask, Window
from modeling.datasets.dicom_seg import read_dicom
from modeling.datasets.patients import opaque_name
from modeling.sample import CollectionError, Target
from tests.unit.results.conftest import disc, prediction, pydicom_file

# pydicom warns of values in these real files that are not of their representation.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def mask_of(target: Target) -> BoolMask:
    """A target's mask, which it has."""
    assert target.mask is not None
    return target.mask


def series(folder: Path, count: int) -> list[Path]:
    """Slices of one patient, made from one real CT slice."""
    dataset = dcmread(pydicom_file("CT_small.dcm"))
    paths = []
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5 * number]
        # Names run against the order of slices.
        paths.append(folder / f"{count - number}.dcm")
        dataset.save_as(paths[-1])
    return paths


def write(path: Path, sources: list[Path], masks: NDArray[Any], kind: str = "BINARY") -> Path:
    """Writes a segmentation with highdicom: masks (slices, rows, columns[, segments])."""
    segments = int(masks.shape[3]) if masks.ndim == 4 else int(masks.max()) if masks.dtype.kind == "u" else 1
    descriptions = [
        SegmentDescription(number, f"part {number}", TISSUE, TISSUE, SegmentAlgorithmTypeValues.MANUAL)
        for number in range(1, segments + 1)
    ]
    highdicom.seg.Segmentation(
        source_images=[dcmread(source) for source in sources],
        pixel_array=masks,
        segmentation_type=SegmentationTypeValues(kind),
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)
    return path


def test_segments_lie_on_the_images_they_name(tmp_path: Path) -> None:
    """Each image gets the segments that refer to it, with their labels, in order of slices; others are unlabelled."""
    paths = series(tmp_path, 3)
    image = read_image(paths[1])
    masks = disc(image.size, 40, 60, 9), disc(image.size, 45, 60, 9)
    write_segmentation(tmp_path / "seg.dcm", [paths[1]], [prediction(image.source, *masks)], labels=["stone", "kidney"])
    first, second, third = read_dicom(tmp_path, source="s")
    assert (first.targets, third.targets) == ((), ())
    assert [target.label for target in second.targets] == ["stone", "kidney"]
    for target, mask in zip(second.targets, masks, strict=True):
        assert np.array_equal(mask_of(target), mask)
    assert (second.source, second.modality, second.size) == ("s", "CT", image.size)
    assert second.spacing_mm == pytest.approx((0.661468, 0.661468))
    assert len({first.name, second.name, third.name}) == 3


def test_patients_are_hashes(tmp_path: Path) -> None:
    """A patient is the same hash in every file, and no Patient ID or name is in a sample."""
    paths = series(tmp_path, 2)
    patient = str(dcmread(paths[0]).PatientID)
    samples = list(read_dicom(tmp_path))
    assert {sample.patient for sample in samples} == {opaque_name(patient)}
    assert all(patient not in sample.name for sample in samples)


def test_frames_are_matched_by_number(tmp_path: Path) -> None:
    """In a file of several frames a segment lies on the frame that it names."""
    slices = [dcmread(path) for path in series(tmp_path, 4)]
    for path in tmp_path.iterdir():
        path.unlink()
    dataset = highdicom.legacy.LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1)
    dataset.PatientID = ""
    source = tmp_path / "ct.dcm"
    dataset.save_as(source)
    image = read_image(source, frame=3)
    mask = disc(image.size, 30, 20, 6)
    write_segmentation(tmp_path / "seg.dcm", [source], [prediction(image.source, mask)], labels=["lesion"])
    samples = list(read_dicom(tmp_path))
    assert [len(sample.targets) for sample in samples] == [0, 0, 1, 0]
    assert np.array_equal(mask_of(samples[2].targets[0]), mask)
    assert samples[2].patient == opaque_name(str(dataset.StudyInstanceUID))


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_all_types_hold_the_same(tmp_path: Path, kind: str) -> None:
    """Segments of one number are read alike from a binary segmentation and a label map."""
    paths = series(tmp_path, 2)
    labels = np.zeros((2, 128, 128), np.uint8)
    labels[0, 10:20, 10:20], labels[1, 30:50, 30:40] = 1, 2
    write(tmp_path / "seg.dcm", paths, labels, kind)
    samples = list(read_dicom(tmp_path))
    assert [[target.label for target in sample.targets] for sample in samples] == [["part 1"], ["part 2"]]
    assert np.array_equal(mask_of(samples[1].targets[0]), labels[1] == 2)


def test_fractions_count_from_one_half(tmp_path: Path) -> None:
    """A fractional segment covers the pixels of which it fills at least a half."""
    paths = series(tmp_path, 1)
    fractions = np.zeros((1, 128, 128), np.float32)
    fractions[0, 10:20], fractions[0, 20:30] = 0.3, 0.8
    write(tmp_path / "seg.dcm", paths, fractions, "FRACTIONAL")
    (sample,) = read_dicom(tmp_path)
    assert np.array_equal(mask_of(sample.targets[0]), fractions[0] > 0.5)


def test_windows_make_grey_levels(tmp_path: Path) -> None:
    """Grey levels come through the window that was given."""
    (path,) = series(tmp_path, 1)
    (sample,) = read_dicom(tmp_path, mapping=Window(0, 200))
    values = read_image(path).pixels
    assert (sample.image[values <= -100] == 0).all()
    assert (sample.image[values >= 100] == 255).all()


def test_segments_of_absent_images_are_refused(tmp_path: Path) -> None:
    """A segmentation none of whose images is there is named; one of which some are there is used for these."""
    paths = series(tmp_path, 2)
    write(tmp_path / "seg.dcm", paths, np.ones((2, 128, 128), np.uint8))
    paths[0].unlink()
    (sample,) = read_dicom(tmp_path)
    assert len(sample.targets) == 1
    paths[1].unlink()
    series(tmp_path, 1)
    with pytest.raises(CollectionError, match=r"seg\.dcm: .*put its images beside it"):
        list(read_dicom(tmp_path))


def test_segments_beside_their_image_are_refused(tmp_path: Path) -> None:
    """A segment that lies elsewhere than its image's pixels is refused, not painted in the wrong place."""
    (path,) = series(tmp_path, 1)
    write(tmp_path / "seg.dcm", [path], np.ones((1, 128, 128), np.uint8))
    moved = dcmread(path)
    moved.ImagePositionPatient = [-100, -179, -75.7]
    moved.save_as(path)
    with pytest.raises(CollectionError, match=r"seg\.dcm, frame 1: it does not lie on its image's pixels"):
        list(read_dicom(tmp_path))


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    """No DICOM images, two copies of one, or a damaged file: typed errors; other files are passed over."""
    (tmp_path / "readme.txt").write_text("text")
    with pytest.raises(CollectionError, match="no DICOM images"):
        list(read_dicom(tmp_path))
    (path,) = series(tmp_path, 1)
    copy = tmp_path / "copy.dcm"
    shutil.copy(path, copy)
    with pytest.raises(CollectionError, match="remove the copies"):
        list(read_dicom(tmp_path))
    copy.unlink()
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(UnreadableImage, match=r"1\.dcm"):
        list(read_dicom(tmp_path))
