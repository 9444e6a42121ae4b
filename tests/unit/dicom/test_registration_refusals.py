"""DICOM registrations that cannot be written or read, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hilum.dicom.registration import read_registration, write_registration
from hilum.errors import FrameNotSupported, InvalidField, UnreadableImage
from hilum.geometry import DetectorFrame, ImageGeometry, PatientFrame
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from tests.unit.dicom.registrations import TURN, Pair, made_pair, series, volume_pair, zero_field
from tests.unit.drawn_transforms import FIXED_UID, MOVING_UID


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Three slices each, of CT and MR."""
    return made_pair(tmp_path_factory.mktemp("registration"))


def test_projections_and_pictures_are_refused(pair: Pair) -> None:
    """A radiograph has no place in the patient, a picture none at all, and NIfTI's no frame of reference."""
    frame = PatientFrame((0.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (1.0, 1.0, 1.0), FIXED_UID)
    slice_ = Transform.from_matrix(np.eye(3), (4, 6), (4, 6), fixed_geometry=ImageGeometry(frame))
    detector = ImageGeometry(DetectorFrame((0.2, 0.2), 1.3))
    for geometry, reason in (
        (detector, "does not lie in the patient"),
        (ImageGeometry(), "does not lie in the patient"),
        (ImageGeometry(replace(frame, frame_of_reference_uid="")), "no Frame of Reference UID"),
    ):
        with pytest.raises(FrameNotSupported, match=reason):
            pair.write(replace(slice_, moving_geometry=geometry))
        with pytest.raises(FrameNotSupported, match=reason):
            read_registration(pair.out, slice_.fixed_grid, ImageGrid((4, 6), geometry))


def test_files_of_other_images_are_refused(pair: Pair, tmp_path: Path) -> None:
    """Files must be of the transform's frames of reference, of one patient and one series, and DICOM images."""
    transform = volume_pair()
    with pytest.raises(InvalidField, match="another frame of reference than the fixed"):
        write_registration(pair.out, transform, pair.moving, pair.fixed)
    with pytest.raises(InvalidField, match="several series"):
        write_registration(pair.out, transform, [*pair.fixed, *pair.moving], pair.moving)
    with pytest.raises(InvalidField, match="no DICOM image"):
        write_registration(pair.out, transform, [], pair.moving)
    stranger = made_pair(tmp_path, PatientID="P2")
    with pytest.raises(InvalidField, match="different patients") as refused:
        stranger.write(transform)
    assert "P2" not in str(refused.value)
    nowhere = series(tmp_path, "nowhere")
    with pytest.raises(FrameNotSupported, match="no FrameOfReferenceUID"):
        write_registration(pair.out, transform, nowhere, pair.moving)
    text = tmp_path / "text.dcm"
    text.write_text("hello")
    with pytest.raises(UnreadableImage, match=r"text\.dcm"):
        write_registration(pair.out, transform, [text], pair.moving)


def test_what_cannot_be_read_is_refused(pair: Pair) -> None:
    """Other objects, other frames of reference, several matrices for one, and undefined vectors are refused."""
    transform = volume_pair(TURN)
    with pytest.raises(InvalidField, match="no Spatial Registration"):
        read_registration(pair.fixed[0], transform.fixed_grid, transform.moving_grid)
    frame = transform.moving_geometry.frame
    assert isinstance(frame, PatientFrame)
    stranger = ImageGrid((3, 4, 6), ImageGeometry(replace(frame, frame_of_reference_uid="1.2.3")))
    written = pair.write(transform)
    with pytest.raises(InvalidField, match="does not relate the frames"):
        read_registration(pair.out, transform.fixed_grid, stranger)
    again = Dataset()
    again.update(written.RegistrationSequence[0])
    again.FrameOfReferenceUID = MOVING_UID
    written.RegistrationSequence.append(again)
    written.save_as(pair.out)
    with pytest.raises(InvalidField, match="in several ways"):
        read_registration(pair.out, transform.fixed_grid, transform.moving_grid)
    bent = pair.write(replace(transform, displacement_field=zero_field()))
    with pytest.raises(InvalidField, match="does not take"):
        read_registration(pair.out, transform.fixed_grid, stranger)
    grid = bent.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    for data, reason in ((np.full(3 * 4 * 6 * 3, np.nan), "undefined"), (np.zeros(12), "bytes on a grid")):
        grid.VectorGridData = data.astype("<f4").tobytes()
        bent.save_as(pair.out)
        with pytest.raises(InvalidField, match=reason):
            read_registration(pair.out, transform.fixed_grid, transform.moving_grid)
