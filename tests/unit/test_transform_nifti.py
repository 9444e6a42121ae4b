"""Displacement fields in NIfTI files, held against SimpleITK and nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.displacement_field import grid_points
from hilum.errors import FrameNotSupported, InvalidField, TransformFlagged, UnreadableImage
from hilum.geometry import Float, ImageGeometry, PatientFrame, PlaneFrame
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.transform_nifti import INTENT_CODES, Intent, read_nifti_transform, write_nifti_transform
from hilum.transform_world import world_grid
from tests.unit.drawn_transforms import UNHURRIED, Kinds, inside, to_mm, transforms, world_dimension
from tests.unit.simpleitk import place, points_moved, sitk

# float32, in the affine of the file, too.
TOLERANCE_MM = 2e-3
RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
intents = st.sampled_from(sorted(INTENT_CODES))
in_patient = Kinds(planes=False)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A name for a displacement field."""
    return tmp_path_factory.mktemp("nifti") / "field.nii.gz"


def moved_by_simpleitk(path: Path, points_mm: Float) -> Float:
    """Where SimpleITK takes points by the displacement field in a file."""
    image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    return points_moved(sitk.DisplacementFieldTransform(image), points_mm)


def loaded(path: Path) -> Any:
    """The file as nibabel knows it."""
    return nibabel.load(path)


@UNHURRIED
@given(transform=transforms(in_patient), intent=intents)
def test_simpleitk_takes_points_where_we_do(path: Path, transform: Transform, intent: Intent) -> None:
    """Points of the fixed image go where `Transform.apply` takes them, affine part included, with either intent."""
    write_nifti_transform(path, transform, intent=intent)
    dimension = world_dimension(transform)
    pixels = inside(transform)
    moved = moved_by_simpleitk(path, to_mm(transform.fixed_grid, pixels, dimension))
    np.testing.assert_allclose(
        moved, to_mm(transform.moving_grid, transform.apply(pixels), dimension), atol=TOLERANCE_MM
    )


@UNHURRIED
@given(transform=transforms(in_patient, deformable=False), intent=intents)
def test_vectors_are_lps_with_one_intent_and_ras_with_the_other(
    path: Path, transform: Transform, intent: Intent
) -> None:
    """As nibabel reads it: shape (x, y, z, 1, 3) under a RAS affine, components LPS with 1007 and RAS with 1006."""
    write_nifti_transform(path, transform, intent=intent)
    image = loaded(path)
    *_, height, width = transform.fixed_grid.size
    assert image.shape == (width, height, transform.fixed_slices or 2, 1, 3)
    assert int(image.header["intent_code"]) == {"vector": 1007, "dispvect": 1006}[intent]
    assert image.get_data_dtype() == np.float32
    index = np.array([width - 1, height // 2, transform.fixed_slices // 2 if transform.fixed_slices else 0])
    vector = np.asarray(image.dataobj)[tuple(index)][0] * (1 if intent == "dispvect" else RAS_FROM_LPS)
    pixel = index[None].astype(np.float64)
    moved = transform.apply(pixel[:, : transform.warp.dimension])
    if not transform.fixed_slices:
        # The first of two layers lies a quarter of the slice's thickness below its middle, and stays there.
        pixel[0, 2] = -transform.fixed_grid.reach_mm / 2
        moved = np.append(moved, pixel[:, 2:], axis=1)
    start = image.affine[:3, :3] @ index + image.affine[:3, 3]
    np.testing.assert_allclose(start * RAS_FROM_LPS, to_mm(transform.fixed_grid, pixel, 3)[0], atol=TOLERANCE_MM)
    end = (start + vector) * RAS_FROM_LPS
    np.testing.assert_allclose(end, to_mm(transform.moving_grid, moved, 3)[0], atol=TOLERANCE_MM)


@UNHURRIED
@given(transform=transforms(in_patient), intent=intents)
def test_transforms_come_back(path: Path, transform: Transform, intent: Intent) -> None:
    """A field read from its file, with the same two images, takes the fixed pixels to the same places."""
    write_nifti_transform(path, transform, intent=intent)
    found = read_nifti_transform(path, transform.fixed_grid, transform.moving_grid)
    assert (found.fixed_grid, found.moving_grid) == (transform.fixed_grid, transform.moving_grid)
    pixels = grid_points(transform.fixed_grid.size)
    np.testing.assert_allclose(found.apply(pixels), transform.apply(pixels), atol=1e-2)


@UNHURRIED
@given(transform=transforms(in_patient, deformable=False), intent=intents)
def test_fields_of_others_are_read(path: Path, transform: Transform, intent: Intent) -> None:
    """A field that SimpleITK wrote, and the same with RAS components and intent 1006, mean the same here."""
    pixels = grid_points(transform.fixed_grid.size)
    start = to_mm(transform.fixed_grid, pixels, 3)
    end = to_mm(transform.moving_grid, transform.apply(pixels), 3)
    shape, matrix = world_grid(transform.fixed_grid, 3)
    field = sitk.GetImageFromArray(
        np.broadcast_to((end - start).reshape(*transform.fixed_grid.size, 3), (*shape, 3)), isVector=True
    )
    place(field, matrix)
    sitk.WriteImage(field, str(path))
    image = loaded(path)
    assert int(image.header["intent_code"]) == 1007
    if intent == "dispvect":  # which SimpleITK reads, and does not write
        image.header.set_intent(1006)
        make: Any = nibabel.Nifti1Image
        turned = make(np.asarray(image.dataobj) * RAS_FROM_LPS, image.affine, image.header)
        nibabel.save(turned, path)
    np.testing.assert_allclose(moved_by_simpleitk(path, start), end, atol=TOLERANCE_MM)
    found = read_nifti_transform(path, transform.fixed_grid, transform.moving_grid)
    np.testing.assert_allclose(found.apply(pixels), transform.apply(pixels), atol=1e-2)


@UNHURRIED
@given(transform=transforms(Kinds(volumes=False, slices=False)))
def test_fields_in_the_plane(path: Path, transform: Transform) -> None:
    """In the plane SimpleITK takes points where we do, and the field is read back."""
    write_nifti_transform(path, transform)
    pixels = grid_points(transform.fixed_grid.size)
    moved = transform.apply(pixels)
    found = moved_by_simpleitk(path, to_mm(transform.fixed_grid, pixels, 2))
    np.testing.assert_allclose(found, to_mm(transform.moving_grid, moved, 2), atol=TOLERANCE_MM)
    back = read_nifti_transform(path, transform.fixed_grid, transform.moving_grid)
    np.testing.assert_allclose(back.apply(pixels), moved, atol=1e-2)


AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SLICE = ImageGrid((8, 9), ImageGeometry(PatientFrame((1.0, 2.0, 3.0), AXES, (1.0, 2.0, 4.0), "1.2")))
PLANE = ImageGrid((8, 9), ImageGeometry(PlaneFrame((1.0, 2.0))))


def shift(flags: tuple[str, ...] = (), image: ImageGrid = SLICE) -> Transform:
    matrix = [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    geometry = image.geometry
    return Transform.from_matrix(
        matrix, image.size, image.size, fixed_geometry=geometry, moving_geometry=geometry, flags=flags
    )


def test_the_file_runs_from_fixed_to_moving(path: Path) -> None:
    """What is 2 pixels of 1 mm further left in the moving image is 2 mm to the left in the file: no inverse."""
    write_nifti_transform(path, shift())
    assert np.asarray(loaded(path).dataobj)[4, 4, 0, 0].tolist() == [2, 0, 0]
    write_nifti_transform(path, shift(), intent="dispvect")
    assert np.asarray(loaded(path).dataobj)[4, 4, 0, 0].tolist() == [-2, 0, 0]


def test_in_plane_fields_have_two_components(path: Path) -> None:
    """In the plane there are two components, of slices in the patient where that is asked."""
    for transform, in_plane in ((shift(image=PLANE), False), (shift(), True)):
        write_nifti_transform(path, transform, in_plane=in_plane)
        assert loaded(path).shape == (9, 8, 1, 1, 2)
        found = read_nifti_transform(path, transform.fixed_grid, transform.moving_grid)
        np.testing.assert_allclose(found.apply([[3.0, 4.0]]), [[5.0, 4.0]], atol=1e-5)


def test_the_plane_has_no_ras(path: Path) -> None:
    """RAS vectors exist in the patient only: intent 1006 is refused in the plane, as ITK refuses it."""
    with pytest.raises(FrameNotSupported, match="RAS"):
        write_nifti_transform(path, shift(image=PLANE), intent="dispvect")


def test_flags_go_with_the_file(path: Path) -> None:
    """A flagged transform is written where its flags are accepted; SimpleITK reads it, and we see the flags."""
    flagged = shift(("LOW_OVERLAP", "VIEWS_DIFFER"))
    with pytest.raises(TransformFlagged, match="LOW_OVERLAP"):
        write_nifti_transform(path, flagged)
    write_nifti_transform(path, flagged, accepted_flags=flagged.flags)
    assert moved_by_simpleitk(path, np.array([[1.0, 2.0, 3.0]])).tolist() == [[3.0, 2.0, 3.0]]
    assert read_nifti_transform(path, SLICE, SLICE).flags == flagged.flags


def test_pixels_without_spacing_are_refused(path: Path) -> None:
    """A picture has no mm, so no file that is in mm."""
    with pytest.raises(FrameNotSupported, match="spacing"):
        write_nifti_transform(path, shift(image=ImageGrid((8, 9))))


def saved(path: Path, vectors: Float, intent: int = 1007, unit: str = "mm") -> Path:
    """A NIfTI file of nibabel's making."""
    make: Any = nibabel.Nifti1Image
    image = make(vectors.astype(np.float32), np.eye(4))
    image.header.set_intent(intent, allow_unknown=True)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("vectors", "intent", "unit", "reason"),
    [
        (np.zeros((4, 4, 4)), 1007, "mm", "has shape"),
        (np.zeros((4, 4, 4, 3)), 1007, "mm", "has shape"),
        (np.zeros((4, 4, 4, 1, 2)), 1007, "mm", "has shape"),
        (np.zeros((4, 4, 4, 1, 4)), 1007, "mm", "has shape"),
        (np.zeros((4, 4, 1, 1, 2)), 1006, "mm", "intent 1006, but"),
        (np.zeros((4, 4, 1, 1, 3)), 0, "mm", "intent 0, which does not say"),
        (np.zeros((4, 4, 1, 1, 3)), 1007, "meter", "is in meters"),
        (np.full((4, 4, 1, 1, 3), np.nan), 1007, "mm", "finite"),
    ],
)
def test_other_files_are_refused(path: Path, vectors: Float, intent: int, unit: str, reason: str) -> None:
    """What is no displacement field, or does not say how it is meant, is refused by name, with the reason."""
    with pytest.raises(InvalidField, match=reason) as refused:
        read_nifti_transform(saved(path, vectors, intent, unit), SLICE, SLICE)
    assert refused.value.field == path.name


def test_files_that_are_no_nifti_are_refused(tmp_path: Path) -> None:
    """A text that calls itself NIfTI cannot be read."""
    text = tmp_path / "text.nii"
    text.write_text("hello")
    with pytest.raises(UnreadableImage, match=r"text\.nii"):
        read_nifti_transform(text, SLICE, SLICE)
