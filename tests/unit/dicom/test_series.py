"""Slices of a series as one volume: in order, on a regular grid, or refused by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.errors import UnreadableImage
from hilum.files import MAX_VOXELS
from hilum.geometry import PatientFrame, PixelFrame, pixel_to_patient
from hilum.images import read_image, read_volume
from tests.unit.dicom.conftest import WriteDicom, groups, item

AXIAL = ("1", "0", "0", "0", "1", "0")
SAGITTAL = ("0", "1", "0", "0", "0", "-1")


def write_series(
    write_dicom: WriteDicom,
    stored: NDArray[Any],
    positions: Sequence[tuple[float, float, float]],
    *,
    cosines: tuple[str, ...] = AXIAL,
    **attributes: Any,
) -> Path:
    """One file per position, named so that names say nothing about the order; slice k holds stored + k."""
    common = {"SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PixelSpacing": ["0.8", "0.6"]}
    for number, position in enumerate(positions):
        path = write_dicom(
            stored + number,
            name=f"series/{(number * 7) % 11:02}.dcm",
            ImagePositionPatient=[str(value) for value in position],
            ImageOrientationPatient=list(cosines),
            **{**common, **attributes},
        )
    return path.parent


def test_slices_are_ordered_by_position(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Names and instance numbers do not count, the position along the normal does; every voxel's place is exact."""
    folder = write_series(write_dicom, ramp, [(1, 2, 10 - 2.5 * k) for k in range(5)])
    volume = read_volume(folder)
    assert volume.voxels[:, 0, 0].tolist() == [4, 3, 2, 1, 0]
    frame = volume.geometry.frame
    assert isinstance(frame, PatientFrame)
    np.testing.assert_allclose(pixel_to_patient(frame, [[5, 3, 4]])[0], [1 + 5 * 0.6, 2 + 3 * 0.8, 10])
    assert frame.spacing_mm == pytest.approx((0.6, 0.8, 2.5))
    assert frame.frame_of_reference_uid == "1.2.4"
    assert volume.source.sop_instance_uid == ""


def test_slices_of_any_orientation_are_stacked_along_their_normal(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16]
) -> None:
    """A sagittal series keeps its own rows and columns; the third direction is the normal of its slices."""
    volume = read_volume(write_series(write_dicom, ramp, [(4 * k, 0, 0) for k in range(3)], cosines=SAGITTAL))
    frame = volume.geometry.frame
    assert isinstance(frame, PatientFrame)
    normal = np.asarray(frame.direction)[:, 2]
    np.testing.assert_allclose(normal, [-1, 0, 0])
    assert volume.voxels[:, 0, 0].tolist() == [2, 1, 0]
    np.testing.assert_allclose(pixel_to_patient(frame, [[0, 0, 2]])[0], [0, 0, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ([(0, 0, 3 * k) for k in (0, 1, 3, 4)], "slices are missing"),
        ([(0, 0, 3 * k) for k in (0, 1, 1, 2)], "1 of 4 slices lie where another does"),
        ([(0, 0, z) for z in (0, 3, 7.5, 10)], "unevenly spaced"),
        ([(0, round(1.2 * k, 1), 3 * k) for k in range(4)], "tilted by 21.8 degrees"),
    ],
)
def test_irregular_stacks_are_refused_unless_allowed(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], positions: list[tuple[float, float, float]], reason: str
) -> None:
    """Missing, doubled, uneven and tilted slices are named; allowed, they come in order, knowing pixels only."""
    folder = write_series(write_dicom, ramp, positions)
    with pytest.raises(UnreadableImage, match=reason):
        read_volume(folder)
    volume = read_volume(folder, allow_uneven=True)
    assert volume.geometry.frame == PixelFrame()
    assert sorted(volume.voxels[:, 0, 0].tolist()) == [0, 1, 2, 3]


def test_rounded_positions_are_regular(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Positions written with one decimal still make a regular volume."""
    folder = write_series(write_dicom, ramp, [(0, 0, round(0.625 * k, 1)) for k in range(9)])
    frame = read_volume(folder).geometry.frame
    assert isinstance(frame, PatientFrame)
    assert frame.spacing_mm[2] == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SeriesInstanceUID": "9.9"}, "more than one series"),
        ({"ImageOrientationPatient": list(SAGITTAL)}, "several orientations"),
        ({"PixelSpacing": ["1", "1"]}, "several pixel spacings"),
        ({"FrameOfReferenceUID": "9.9"}, "several frames of reference"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], attributes: dict[str, Any], reason: str
) -> None:
    """A scout, another series or another spacing in the folder is named."""
    folder = write_series(write_dicom, ramp, [(0, 0, 3.0 * k) for k in range(3)])
    alone = {
        "SeriesInstanceUID": "1.2.3",
        "FrameOfReferenceUID": "1.2.4",
        "PixelSpacing": ["0.8", "0.6"],
        "ImageOrientationPatient": list(AXIAL),
        "ImagePositionPatient": ["0", "0", "9"],
    }
    write_dicom(ramp, name="series/scout.dcm", **{**alone, **attributes})
    with pytest.raises(UnreadableImage, match=reason):
        read_volume(folder)


def test_slices_of_another_size_or_without_place_are_refused(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """A slice that does not fit, or lies nowhere, is no part of a volume."""
    folder = write_series(write_dicom, ramp, [(0, 0, 3.0 * k) for k in range(3)])
    path = write_dicom(ramp, name="series/lost.dcm", SeriesInstanceUID="1.2.3")
    with pytest.raises(UnreadableImage, match=r"lost\.dcm: it has no position"):
        read_volume(folder)
    path.unlink()
    write_series(write_dicom, ramp[:3], [(0, 0, 0.0)])
    with pytest.raises(UnreadableImage, match="several sizes"):
        read_volume(folder)


def test_frames_of_one_file_make_a_volume(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """An enhanced multi-frame file is a series of its own, its frames ordered by position."""
    places = [{"PlanePositionSequence": item(ImagePositionPatient=["0", "0", str(z)])} for z in (4, 2, 0)]
    shared = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=list(AXIAL)),
        "PixelMeasuresSequence": item(PixelSpacing=["1", "1"]),
    }
    path = write_dicom(
        np.stack([ramp, ramp + 1, ramp + 2]),
        NumberOfFrames=3,
        SharedFunctionalGroupsSequence=groups(shared),
        PerFrameFunctionalGroupsSequence=groups(*places),
    )
    volume = read_volume(path)
    assert volume.voxels[:, 0, 0].tolist() == [2, 1, 0]
    assert volume.source.frame_number is None


@pytest.mark.parametrize(("top", "expected"), [(30000, np.int16), (60000, np.float32)])
def test_a_volume_has_one_type_that_holds_every_slice(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], top: int, expected: type[np.generic]
) -> None:
    """Slices whose own types differ become int16 where that holds all of them, else float32; nothing wraps."""
    folder = write_series(write_dicom, ramp.astype(np.int16) - 5, [(0, 0, 0.0), (0, 0, 3.0)])
    write_dicom(
        ramp + np.uint16(top),
        name="series/high.dcm",
        SeriesInstanceUID="1.2.3",
        FrameOfReferenceUID="1.2.4",
        PixelSpacing=["0.8", "0.6"],
        ImageOrientationPatient=list(AXIAL),
        ImagePositionPatient=["0", "0", "6"],
    )
    volume = read_volume(folder)
    assert volume.voxels.dtype == expected
    assert (volume.voxels.min(), volume.voxels.max()) == (-5, top + 23)


def test_folders_without_images_and_pictures_are_refused(tmp_path: Path) -> None:
    """A folder of other files, and a file that is no volume, say so."""
    (tmp_path / "readme.txt").write_text("nothing to see")
    with pytest.raises(UnreadableImage, match="no DICOM image"):
        read_volume(tmp_path)
    with pytest.raises(UnreadableImage, match="No such file"):
        read_volume(tmp_path / "absent")


def test_a_volume_that_is_too_large_is_refused_from_its_headers(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16]
) -> None:
    """The sum of frames, rows and columns is checked before anything is decoded."""
    path = write_dicom(ramp, NumberOfFrames=MAX_VOXELS, Rows=2, Columns=1)
    with pytest.raises(UnreadableImage, match="at most"):
        read_volume(path)


def test_real_series(shared_data: Path) -> None:
    """A CT and an MR series are read in place; a tilted head scan is refused for its tilt."""
    ct = read_volume(shared_data / "ct_abdomen_dicom")
    assert ct.voxels.shape == (20, 512, 512)
    assert isinstance(ct.geometry.frame, PatientFrame)
    for file in sorted((shared_data / "ct_abdomen_dicom").glob("CT*"))[:3]:
        frame = read_image(file).geometry.frame
        assert isinstance(frame, PatientFrame)
        index = (frame.origin_mm[2] - ct.geometry.frame.origin_mm[2]) / ct.geometry.frame.spacing_mm[2]
        np.testing.assert_array_equal(ct.voxels[round(index)], read_image(file).pixels)
    mr = read_volume(shared_data / "mr_brain_dicom")
    assert isinstance(mr.geometry.frame, PatientFrame)
    with pytest.raises(UnreadableImage, match=r"tilted by 18\.\d degrees"):
        read_volume(shared_data / "ct_head_tilted_dicom")
    assert len(read_volume(shared_data / "ct_head_tilted_dicom", allow_uneven=True).voxels) == 28
