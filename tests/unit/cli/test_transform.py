"""`hilum transform`: files of every kind, and points, without any service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from hilum.displacement_field import DisplacementField, grid_points
from hilum.geometry import ImageGeometry, PatientFrame
from hilum.images import read_image, read_volume
from hilum.transform import Transform
from hilum.transform_file import read_transform, write_transform
from tests.unit.cli.conftest import Command
from tests.unit.dicom.conftest import dataset
from tests.unit.drawn_transforms import smooth_field
from tests.unit.simpleitk import points_moved, sitk

SHAPE = (3, 6, 7)


def series(folder: Path, uid: str) -> Path:
    """A folder with three slices, 2 mm apart."""
    folder.mkdir()
    study, name = generate_uid(), generate_uid()
    for index in range(SHAPE[0]):
        made = dataset(
            np.zeros(SHAPE[1:], np.uint16),
            Modality="CT",
            PatientID="P1",
            StudyInstanceUID=study,
            SeriesInstanceUID=name,
            FrameOfReferenceUID=uid,
            ImagePositionPatient=[5.0, -7.0, 2.0 * index],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1.5, 0.5],
            SliceThickness=2.0,
        )
        made.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return folder


def loaded(path: Path) -> Any:
    """A NIfTI file; nibabel is typed in parts only."""
    return nibabel.load(path)


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    """Two series of one patient."""
    return series(tmp_path / "ct", "1.2.3"), series(tmp_path / "mr", "1.2.4")


@pytest.fixture
def bent(images: tuple[Path, Path], tmp_path: Path) -> Path:
    """A deformable transform between the two volumes, in a file."""
    matrix = np.eye(4)
    matrix[:3, 3] = (0.5, -0.25, 0.125)
    fixed, moving = (read_volume(path) for path in images)
    transform = Transform.from_matrix(
        matrix,
        SHAPE,
        SHAPE,
        fixed_geometry=fixed.geometry,
        moving_geometry=moving.geometry,
        displacement_field=smooth_field(np.random.default_rng(0), SHAPE, 0.5),
    )
    write_transform(tmp_path / "bent.json", transform)
    return tmp_path / "bent.json"


@pytest.mark.parametrize("name", ["x.json", "x.tfm", "x.txt", "x.nii", "x.nii.gz", "x.dcm"])
def test_files_of_every_kind_are_written_and_read(
    command: Command, images: tuple[Path, Path], bent: Path, tmp_path: Path, name: str
) -> None:
    """From JSON to each format and back, with the two images named, points go to the same places."""
    named = ["--fixed", images[0], "--moving", images[1]]
    written = command("transform", "convert", bent, tmp_path / name, *named)
    assert (written.code, written.err) == (0, "")
    assert "deformable, 3 x 6 x 7 fixed pixels to moving pixels" in written.out
    assert "Not for diagnosis." in written.out
    back = command("transform", "convert", tmp_path / name, tmp_path / "back.json", *named)
    assert (back.code, back.err) == (0, "")
    pixels = grid_points(SHAPE)
    expected = read_transform(bent).apply(pixels)
    np.testing.assert_allclose(read_transform(tmp_path / "back.json").apply(pixels), expected, atol=1e-3)


def test_inverses_state_their_residual(command: Command, images: tuple[Path, Path], bent: Path, tmp_path: Path) -> None:
    """The inverse is written from moving to fixed, also to DICOM, with how far pixels come back to."""
    done = command("transform", "convert", bent, tmp_path / "back.tfm", "--inverse")
    assert done.code == 0
    assert "inverse: pixels come back to within" in done.out
    fixed = np.array([[6.0, -3.0, 2.0]])
    there = read_transform(bent).apply_patient(fixed)
    found = points_moved(sitk.ReadTransform(str(tmp_path / "back.tfm")), there)
    np.testing.assert_allclose(found, fixed, atol=0.05)
    named = ["--fixed", images[0], "--moving", images[1]]
    assert command("transform", "convert", bent, tmp_path / "back.dcm", "--inverse", *named).code == 0
    assert dcmread(tmp_path / "back.dcm").FrameOfReferenceUID == "1.2.4"


def test_slices_are_named_by_their_own_files(command: Command, images: tuple[Path, Path], tmp_path: Path) -> None:
    """A slice's file is an image, and a slice that is cut from a series cannot be referred to by DICOM."""
    ct, mr = images[0] / "1.dcm", images[1] / "1.dcm"
    fixed, moving = (read_image(path) for path in (ct, mr))
    planar = Transform.from_matrix(
        np.eye(3), SHAPE[1:], SHAPE[1:], fixed_geometry=fixed.geometry, moving_geometry=moving.geometry
    )
    source, out = tmp_path / "planar.json", tmp_path / "planar.dcm"
    write_transform(source, planar)
    assert command("transform", "convert", source, out, "--fixed", ct, "--moving", mr).code == 0
    back = tmp_path / "back.json"
    assert command("transform", "convert", out, back, "--fixed", ct, "--moving", mr).code == 0
    np.testing.assert_allclose(read_transform(back).pixel_matrix, planar.pixel_matrix, atol=1e-9)
    cut = ["--fixed", images[0], "--fixed-index", 1, "--moving", mr]
    refused = command("transform", "convert", source, out, *cut)
    assert refused.code == 1
    assert "name the slice's own file" in refused.complaint


def test_in_plane_and_intent(command: Command, images: tuple[Path, Path], tmp_path: Path) -> None:
    """Slices in the patient are written in two dimensions where asked, and RAS vectors with intent 1006."""
    geometry = read_image(images[0] / "0.dcm").geometry
    planar = Transform.from_matrix(
        [[1, 0, 2], [0, 1, 0], [0, 0, 1]], SHAPE[1:], SHAPE[1:], fixed_geometry=geometry, moving_geometry=geometry
    )
    source, out = tmp_path / "planar.json", tmp_path / "field.nii"
    write_transform(source, planar)
    assert command("transform", "convert", source, out, "--in-plane").code == 0
    assert loaded(out).shape == (7, 6, 1, 1, 2)
    assert command("transform", "convert", source, out, "--intent", "dispvect").code == 0
    assert int(loaded(out).header["intent_code"]) == 1006
    np.testing.assert_allclose(np.asarray(loaded(out).dataobj)[0, 0, 0, 0], [-1, 0, 0], atol=1e-6)


def test_flagged_transforms_are_written_where_flags_are_accepted(command: Command, bent: Path, tmp_path: Path) -> None:
    """A flag keeps a transform in JSON until it is accepted by name, and is told each time."""
    source, out = tmp_path / "flagged.json", tmp_path / "flagged.tfm"
    write_transform(source, replace(read_transform(bent), flags=("LOW_OVERLAP",)))
    refused = command("transform", "convert", source, out)
    assert refused.code == 1
    assert "LOW_OVERLAP" in refused.complaint
    assert "--accept-flag" in refused.complaint
    assert not out.exists()
    done = command("transform", "convert", source, out, "--accept-flag", "LOW_OVERLAP")
    assert done.code == 0
    assert "FLAG LOW_OVERLAP" in done.out
    assert "FLAG LOW_OVERLAP" in command("transform", "apply", source, "--point", "1,1,1").err


def test_points_are_applied(command: Command, bent: Path, tmp_path: Path) -> None:
    """Points of the command line and of a file go where the transform takes them, in each unit, and back."""
    transform = read_transform(bent)
    (tmp_path / "points.csv").write_text("1,2,1\n\n3.5,4,0\n")
    done = command("transform", "apply", bent, "--point", "-0.5,0,0", "--points", tmp_path / "points.csv")
    assert done.code == 0
    assert "Not for diagnosis" in done.err
    printed = np.array([[float(number) for number in line.split(",")] for line in done.out.splitlines()])
    expected = transform.apply([[-0.5, 0.0, 0.0], [1.0, 2.0, 1.0], [3.5, 4.0, 0.0]])
    np.testing.assert_allclose(printed, expected, atol=1e-6)
    done = command("transform", "apply", bent, "--point", "6,-3,2", "--unit", "patient-mm", "--inverse")
    expected = transform.apply_patient([[6.0, -3.0, 2.0]], inverse=True)
    np.testing.assert_allclose([[float(number) for number in done.out.split(",")]], expected, atol=1e-6)
    planar = tmp_path / "planar.json"
    frame = PatientFrame((0.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0.5, 0.5, 1.0))
    geometry = ImageGeometry(frame)
    shift = [[1, 0, 2], [0, 1, 0], [0, 0, 1]]
    write_transform(
        planar,
        Transform.from_matrix(
            shift,
            (4, 4),
            (4, 4),
            fixed_geometry=geometry,
            moving_geometry=geometry,
            displacement_field=DisplacementField(np.zeros((2, 4, 4))),
        ),
    )
    assert command("transform", "apply", planar, "--point", "1,1", "--unit", "plane-mm").out == "2.000000,1.000000\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["convert", "{bent}", "{folder}/x.h5"], "a .tfm of what"),
        (["convert", "{bent}", "{folder}/x.png"], "give a name that ends in"),
        (["convert", "{bent}", "{folder}/nowhere/x.tfm"], "is no folder"),
        (["convert", "{bent}", "{folder}/x.dcm"], "says nothing about the images' pixels: name both"),
        (["convert", "{bent}", "{folder}/x.tfm", "--accept-flag", "MADE_UP"], "MADE_UP is none of"),
        (["apply", "{bent}"], "give points"),
        (["apply", "{bent}", "--point", "1,x"], "numbers without spaces"),
        (["apply", "{bent}", "--point", "1,1", "--point", "1,1,1"], "all with as many"),
        (["apply", "{bent}", "--point", "1,nan,1"], "finite"),
    ],
)
def test_command_lines_that_are_not_understood(
    command: Command, bent: Path, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    """Endings, folders, images and points that are missing or unknown are usage errors that say what to give."""
    done = command("transform", *[word.format(bent=bent, folder=tmp_path) for word in arguments])
    assert done.code == 2
    assert reason.replace(" ", "") in done.complaint.replace(" ", "")


def test_pictures_have_no_millimetres(command: Command, picture: Path, tmp_path: Path) -> None:
    """Between pictures there is a transform of pixels, which no other format holds."""
    source = tmp_path / "pixels.json"
    write_transform(source, Transform.from_matrix(np.eye(3), (200, 300), (200, 300)))
    reasons = {"x.tfm": "no spacing", "x.nii.gz": "no spacing", "x.dcm": "no DICOM image"}
    for name, reason in reasons.items():
        done = command("transform", "convert", source, tmp_path / name, "--fixed", picture, "--moving", picture)
        assert done.code == 1
        assert reason in done.complaint
