"""DICOM registrations: valid, in the standard's direction, and pointing to the images that they relate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeformableSpatialRegistrationStorage, SpatialRegistrationStorage

from hilum.dicom.registration import read_registration, write_registration
from hilum.displacement_field import grid_points
from hilum.errors import InvalidField, TransformFlagged
from hilum.geometry import Float, ImageGeometry, PatientFrame, pixel_to_patient
from hilum.transform import Transform
from hilum.warp import affine
from tests.unit.dicom.registrations import TURN, Pair, made_pair, validator_errors, volume_pair, zero_field
from tests.unit.drawn_transforms import FIXED_UID, MOVING_UID, UNHURRIED, Kinds, inside, moved_mm, to_mm, transforms

# Decimal strings have 16 letters, and displacements are float32.
TOLERANCE_MM = 1e-4


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Three slices each, of CT and MR."""
    return made_pair(tmp_path_factory.mktemp("registration"))


@settings(UNHURRIED, max_examples=12)
@given(transform=transforms(Kinds(planes=False)))
def test_registrations_are_valid(pair: Pair, transform: Transform) -> None:
    """The standard's validator finds nothing in either kind, between slices or volumes, of any orientation."""
    written = pair.write(transform)
    kind = SpatialRegistrationStorage if transform.displacement_field is None else DeformableSpatialRegistrationStorage
    assert written.SOPClassUID == kind
    assert validator_errors(pair.out) == []


def test_what_is_not_known_stays_empty(tmp_path: Path) -> None:
    """Of images that name no part of the body, and no patient, registrations are valid, too."""
    pair = made_pair(tmp_path)
    for path in (*pair.fixed, *pair.moving):
        header = dcmread(path)
        for keyword in ("BodyPartExamined", "Laterality", "PatientID", "PatientName", "StudyID", "SeriesNumber"):
            delattr(header, keyword)
        header.save_as(path)
    pair.write(volume_pair())
    assert [line for line in validator_errors(pair.out) if line.startswith("Error")] == []


def standard_matrix(registration: Dataset, uid: str) -> Float:
    """The matrix that PS3.3 C.20.2 gives for a frame of reference: its points to the Registered RCS."""
    (item,) = (item for item in registration.RegistrationSequence if item.FrameOfReferenceUID == uid)
    (matrix,) = item.MatrixRegistrationSequence[0].MatrixSequence
    return np.reshape(np.array(matrix.FrameOfReferenceTransformationMatrix, np.float64), (4, 4))


@UNHURRIED
@given(transform=transforms(Kinds(planes=False), deformable=False))
def test_matrices_run_from_the_moving_image_to_the_fixed_one(pair: Pair, transform: Transform) -> None:
    """By C.20.2.1.1 the moving frame's matrix takes its points into the Registered RCS, which is the fixed frame."""
    written = pair.write(transform)
    assert written.FrameOfReferenceUID == FIXED_UID
    assert np.array_equal(standard_matrix(written, FIXED_UID), np.eye(4))
    fixed = to_mm(transform.fixed_grid, inside(transform), 3)
    moving = transform.apply_patient(fixed)
    np.testing.assert_allclose(affine(standard_matrix(written, MOVING_UID), moving), fixed, atol=TOLERANCE_MM)


def test_a_shift_to_the_left_is_written_to_the_right(pair: Pair) -> None:
    """The moving image shows the same thing 5 mm further left: its points are brought 5 mm back, not 5 mm on."""
    frame = PatientFrame((0.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (1.0, 1.0, 1.0), FIXED_UID)
    shift = np.eye(4)
    shift[0, 3] = 5.0
    moved = Transform.from_matrix(
        shift,
        (3, 4, 6),
        (3, 4, 6),
        fixed_geometry=ImageGeometry(frame),
        moving_geometry=ImageGeometry(replace(frame, frame_of_reference_uid=MOVING_UID)),
    )
    written = pair.write(moved)
    assert standard_matrix(written, MOVING_UID)[:3, 3].tolist() == [-5, 0, 0]
    bent = replace(moved, displacement_field=zero_field())
    after = pair.write(bent).DeformableRegistrationSequence[0].PostDeformationMatrixRegistrationSequence[0]
    assert np.reshape(np.array(after.FrameOfReferenceTransformationMatrix), (4, 4))[:3, 3].tolist() == [5, 0, 0]


@UNHURRIED
@given(transform=transforms(Kinds(planes=False), deformable=True))
def test_deformations_run_from_the_fixed_image_to_the_moving_one(pair: Pair, transform: Transform) -> None:
    """By C.20.3.1.1 a grid point of the Registered RCS is displaced, and the matrix after it gives the Source RCS."""
    written = pair.write(transform)
    (item,) = written.DeformableRegistrationSequence
    assert (written.FrameOfReferenceUID, item.SourceFrameOfReferenceUID) == (FIXED_UID, MOVING_UID)
    (grid,) = item.DeformableRegistrationGridSequence
    columns, rows, planes = grid.GridDimensions
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(planes, rows, columns, 3)
    row, column = np.reshape(np.array(grid.ImageOrientationPatient, np.float64), (2, 3))
    place = PatientFrame(
        tuple(float(x) for x in grid.ImagePositionPatient),  # type: ignore[arg-type]  # three of three
        tuple(map(tuple, np.column_stack([row, column, np.cross(row, column)]).tolist())),  # type: ignore[arg-type]
        tuple(float(x) for x in grid.GridResolution),  # type: ignore[arg-type]
    )
    after = item.PostDeformationMatrixRegistrationSequence[0].FrameOfReferenceTransformationMatrix
    assert "PreDeformationMatrixRegistrationSequence" not in item
    start = pixel_to_patient(place, grid_points((planes, rows, columns)))
    sampled = affine(np.reshape(np.array(after, np.float64), (4, 4)), start + vectors.reshape(-1, 3))
    np.testing.assert_allclose(sampled, moved_mm(transform, start), atol=TOLERANCE_MM)


@UNHURRIED
@given(transform=transforms(Kinds(planes=False)))
def test_transforms_come_back(pair: Pair, transform: Transform) -> None:
    """A registration read with the same two images takes their pixels to the same places."""
    pair.write(transform)
    found = read_registration(pair.out, transform.fixed_grid, transform.moving_grid)
    assert (found.fixed_grid, found.moving_grid) == (transform.fixed_grid, transform.moving_grid)
    pixels = grid_points(transform.fixed_grid.size)
    np.testing.assert_allclose(found.apply(pixels), transform.apply(pixels), atol=1e-3)
    assert (found.displacement_field is None) == (transform.displacement_field is None)


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (TURN, "RIGID"),
        (np.linalg.inv(np.diag([1.1, 0.9, 1.0]) @ TURN), "RIGID_SCALE"),
        (np.linalg.inv(TURN @ np.diag([1.1, 0.9, 1.0])), "AFFINE"),
        (np.diag([-1.0, 1.0, 1.0]), "AFFINE"),
    ],
)
def test_types_of_matrices(pair: Pair, turn: Float, kind: str) -> None:
    """RIGID only where it is, RIGID_SCALE where a rotation is followed by scales (PS3.17 P), else AFFINE."""
    written = pair.write(volume_pair(turn))
    matrix = written.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence[0]
    assert matrix.FrameOfReferenceTransformationMatrixType == kind


def test_images_are_referred_to(pair: Pair) -> None:
    """Patient and study are the fixed image's; every slice of both series is named, the other study's apart."""
    written = pair.write(volume_pair())
    fixed, moving = ([dcmread(path) for path in paths] for paths in (pair.fixed, pair.moving))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
        assert written[keyword].value == fixed[0][keyword].value
    for item, images in zip(written.RegistrationSequence, (fixed, moving), strict=True):
        named = [reference.ReferencedSOPInstanceUID for reference in item.ReferencedImageSequence]
        assert named == [image.SOPInstanceUID for image in images]
    (own,) = written.ReferencedSeriesSequence
    (other,) = written.StudiesContainingOtherReferencedInstancesSequence
    assert own.SeriesInstanceUID == fixed[0].SeriesInstanceUID
    assert other.StudyInstanceUID == moving[0].StudyInstanceUID
    assert len(other.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 3


def test_a_slice_refers_to_itself_alone(pair: Pair) -> None:
    """Between slices one image each is named, with its frame where it has several; more than one is refused."""
    frame = PatientFrame((0.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (1.0, 1.0, 0.0), FIXED_UID)
    planar = Transform.from_matrix(
        np.eye(3),
        (4, 6),
        (4, 6),
        fixed_geometry=ImageGeometry(frame),
        moving_geometry=ImageGeometry(replace(frame, frame_of_reference_uid=MOVING_UID)),
    )
    written = pair.write(planar, moving_frame=2)
    references = [item.ReferencedImageSequence for item in written.RegistrationSequence]
    assert [len(found) for found in references] == [1, 1]
    assert references[1][0].ReferencedFrameNumber == 2
    assert "ReferencedFrameNumber" not in references[0][0]
    with pytest.raises(InvalidField, match="name one"):
        write_registration(pair.out, planar, pair.fixed, pair.moving[:1])


def test_flags_and_notice_are_written(pair: Pair) -> None:
    """Every registration says that it is not for diagnosis, by which algorithm, and its flags, which are read again."""
    flagged = replace(volume_pair(), flags=("LARGE_DEFORMATION", "LOW_OVERLAP"), algorithm="affine 2")
    with pytest.raises(TransformFlagged, match="LOW_OVERLAP"):
        pair.write(flagged, accepted_flags=["LARGE_DEFORMATION"])
    written = pair.write(flagged, accepted_flags=flagged.flags)
    assert written.ContentDescription == "Not for diagnosis; Quality flags: LARGE_DEFORMATION, LOW_OVERLAP"[:64]
    description = written.ContributingEquipmentSequence[0].ContributionDescription
    assert "affine 2" in description
    assert all(flag in description for flag in flagged.flags)
    assert read_registration(pair.out, flagged.fixed_grid, flagged.moving_grid).flags == flagged.flags
    assert validator_errors(pair.out) == []
    method = written.RegistrationSequence[1].MatrixRegistrationSequence[0].RegistrationTypeCodeSequence
    assert method[0].CodeMeaning == "Image Content-based Alignment"
    unknown = pair.write(volume_pair()).RegistrationSequence[1].MatrixRegistrationSequence[0]
    assert len(unknown.RegistrationTypeCodeSequence) == 0


def test_registrations_within_one_frame_of_reference(tmp_path: Path) -> None:
    """Two series of one study share a frame of reference: what moves is written, and read."""
    pair = made_pair(tmp_path, FrameOfReferenceUID=FIXED_UID)
    moved = volume_pair(TURN)
    frame = moved.moving_geometry.frame
    assert isinstance(frame, PatientFrame)
    moved = replace(moved, moving_geometry=ImageGeometry(replace(frame, frame_of_reference_uid=FIXED_UID)))
    pair.write(moved)
    assert validator_errors(pair.out) == []
    found = read_registration(pair.out, moved.fixed_grid, moved.moving_grid)
    np.testing.assert_allclose(found.pixel_matrix, moved.pixel_matrix, atol=1e-6)


def test_matrices_are_read_in_either_direction(pair: Pair) -> None:
    """With the images exchanged, a matrix registration gives the inverse; a deformable one says what is wrong."""
    turned = volume_pair(TURN)
    pair.write(turned)
    found = read_registration(pair.out, turned.moving_grid, turned.fixed_grid)
    np.testing.assert_allclose(found.pixel_matrix, turned.inverse().pixel_matrix, atol=1e-6)
    bent = replace(turned, displacement_field=zero_field())
    pair.write(bent)
    with pytest.raises(InvalidField, match="the other way round"):
        read_registration(pair.out, turned.moving_grid, turned.fixed_grid)


def test_a_matrix_before_the_deformation_is_read(pair: Pair) -> None:
    """What others write before the deformation is applied first, and displacements are not turned by it."""
    bent = replace(volume_pair(), displacement_field=zero_field())
    written = pair.write(bent)
    (item,) = written.DeformableRegistrationSequence
    vectors = np.zeros((3, 4, 6, 3), "<f4")
    vectors[..., 1] = 2.0
    item.DeformableRegistrationGridSequence[0].VectorGridData = vectors.tobytes()
    before = np.eye(4)
    before[:3, :3] = TURN
    earlier = Dataset()
    earlier.FrameOfReferenceTransformationMatrix = [float(f"{number:.9f}") for number in np.ravel(before)]
    earlier.FrameOfReferenceTransformationMatrixType = "RIGID"
    item.PreDeformationMatrixRegistrationSequence = [earlier]
    after = np.reshape(
        np.array(item.PostDeformationMatrixRegistrationSequence[0].FrameOfReferenceTransformationMatrix), (4, 4)
    ).astype(np.float64)
    written.save_as(pair.out)
    found = read_registration(pair.out, bent.fixed_grid, bent.moving_grid)
    points = to_mm(bent.fixed_grid, grid_points((3, 4, 6)), 3)
    expected = affine(after, affine(before, points) + np.array([0.0, 2.0, 0.0]))
    np.testing.assert_allclose(found.apply_patient(points), expected, atol=TOLERANCE_MM)
