"""ITK transform files, held against SimpleITK: it reads ours, and we read its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import FrameNotSupported, InvalidField, TransformFlagged
from hilum.geometry import Float, ImageGeometry, PatientFrame
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.transform_itk import read_itk_transform, write_itk_transform
from tests.unit.drawn_transforms import UNHURRIED, Kinds, around, inside, to_mm, transforms, world_dimension
from tests.unit.simpleitk import itk_image, points_moved, sitk

# Displacements are float32 in pixels here and in mm in the file.
TOLERANCE_MM = 1e-4


def moved_by_simpleitk(path: Path, points_mm: Float) -> Float:
    """Where SimpleITK takes points by a transform file."""
    return points_moved(sitk.ReadTransform(str(path)), points_mm)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A name for a transform file."""
    return tmp_path_factory.mktemp("itk") / "transform.tfm"


@UNHURRIED
@given(transform=transforms())
def test_simpleitk_takes_points_where_we_do(path: Path, transform: Transform) -> None:
    """Points within the fixed image and beyond it go where `Transform.apply` takes them, in mm: LPS or in the plane."""
    write_itk_transform(path, transform)
    dimension = world_dimension(transform)
    pixels = around(transform)
    moved = moved_by_simpleitk(path, to_mm(transform.fixed_grid, pixels, dimension))
    expected = to_mm(transform.moving_grid, transform.apply(pixels), dimension)
    np.testing.assert_allclose(moved, expected, atol=TOLERANCE_MM)


@UNHURRIED
@given(transform=transforms(Kinds(planes=False)))
def test_patient_points_go_where_simpleitk_takes_them(path: Path, transform: Transform) -> None:
    """LPS points in the fixed image go where `Transform.apply_patient` takes them."""
    write_itk_transform(path, transform)
    points = to_mm(transform.fixed_grid, inside(transform), 3)
    np.testing.assert_allclose(moved_by_simpleitk(path, points), transform.apply_patient(points), atol=TOLERANCE_MM)


@UNHURRIED
@given(transform=transforms())
def test_simpleitk_resamples_as_we_do(path: Path, transform: Transform) -> None:
    """Resampled onto the fixed grid by SimpleITK, the moving image has the values found at `Transform.apply`."""
    write_itk_transform(path, transform)
    dimension, fixed, moving = world_dimension(transform), transform.fixed_grid, transform.moving_grid
    values = np.random.default_rng(2).normal(size=moving.size)
    resampled = sitk.GetArrayFromImage(
        sitk.Resample(
            itk_image(moving, dimension, values),
            itk_image(fixed, dimension),
            sitk.ReadTransform(str(path)),
            sitk.sitkLinear,
            np.nan,
        )
    ).ravel()
    places = transform.apply(grid_points(fixed.size))[:, ::-1]
    expected = ndimage.map_coordinates(values, places.T, order=1, mode="nearest")
    within = ((places > 1e-6) & (places < np.array(moving.size) - 1 - 1e-6)).all(axis=1)
    np.testing.assert_allclose(resampled[within], expected[within], atol=1e-3)
    beyond = ((places < -0.5 - 1e-6) | (places > np.array(moving.size) - 0.5 + 1e-6)).any(axis=1)
    assert np.isnan(resampled[beyond]).all()


@UNHURRIED
@given(transform=transforms())
def test_transforms_come_back(path: Path, transform: Transform) -> None:
    """A transform read from its file, with the same two images, takes their points to the same places."""
    write_itk_transform(path, transform)
    found = read_itk_transform(path, transform.fixed_grid, transform.moving_grid)
    assert (found.fixed_grid, found.moving_grid) == (transform.fixed_grid, transform.moving_grid)
    pixels = inside(transform)
    if transform.displacement_field is not None and not transform.fixed_slices and world_dimension(transform) == 3:
        pixels = grid_points(transform.fixed_grid.size)  # of slices in the patient, exact there
    np.testing.assert_allclose(found.apply(pixels), transform.apply(pixels), atol=1e-3)
    assert (found.displacement_field is None) == (transform.displacement_field is None)


@UNHURRIED
@given(transform=transforms(Kinds(slices=False, planes=False), deformable=True), seed=st.integers(0, 2**32 - 1))
def test_simpleitk_composites_are_read(path: Path, transform: Transform, seed: int) -> None:
    """A composite that SimpleITK wrote, rigid and deformable in any order, means here what it means there."""
    generator = np.random.default_rng(seed)
    write_itk_transform(path, transform)
    parts = [sitk.ReadTransform(str(path))]
    for _ in range(2):
        turn = sitk.Euler3DTransform(generator.uniform(-50, 50, 3).tolist(), *generator.uniform(-0.2, 0.2, 3).tolist())
        parts.insert(int(generator.integers(0, 2)), turn)
    composite = sitk.CompositeTransform(parts)
    composite.FlattenTransform()
    sitk.WriteTransform(composite, str(path))
    pixels = grid_points(transform.fixed_grid.size)
    found = read_itk_transform(path, transform.fixed_grid, transform.moving_grid)
    expected = moved_by_simpleitk(path, to_mm(transform.fixed_grid, pixels, 3))
    moved = to_mm(transform.moving_grid, found.apply(pixels), 3)
    np.testing.assert_allclose(moved, expected, atol=1e-2)
    # A second displacement field is folded into the first.
    twice = sitk.CompositeTransform([composite, sitk.ReadTransform(str(path))])
    twice.FlattenTransform()
    sitk.WriteTransform(twice, str(path))
    found = read_itk_transform(path, transform.fixed_grid, transform.moving_grid)
    expected = moved_by_simpleitk(path, to_mm(transform.fixed_grid, pixels, 3))
    np.testing.assert_allclose(to_mm(transform.moving_grid, found.apply(pixels), 3), expected, atol=1e-2)


AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SLICE = ImageGrid((8, 9), ImageGeometry(PatientFrame((1.0, 2.0, 3.0), AXES, (1.0, 2.0, 4.0), "1.2")))
VOLUME = ImageGrid((3, 8, 9), SLICE.geometry)


def shift(flags: tuple[str, ...] = (), fixed: ImageGrid = SLICE, moving: ImageGrid = SLICE) -> Transform:
    matrix = np.eye(len(fixed.size) + 1)
    matrix[0, -1] = 2.0
    return Transform.from_matrix(
        matrix,
        fixed.size,
        moving.size,
        fixed_geometry=fixed.geometry,
        moving_geometry=moving.geometry,
        flags=flags,
    )


def test_the_file_runs_from_fixed_to_moving(path: Path) -> None:
    """What is 2 pixels of 1 mm further left in the moving image is 2 mm further left in the file: no inverse."""
    write_itk_transform(path, shift())
    assert moved_by_simpleitk(path, np.array([[1.0, 2.0, 3.0]])).tolist() == [[3.0, 2.0, 3.0]]


def test_in_plane_files_have_two_dimensions(path: Path) -> None:
    """Slices in the patient are written in their plane where that is asked, and volumes are not."""
    write_itk_transform(path, shift(), in_plane=True)
    assert moved_by_simpleitk(path, np.array([[1.0, 1.0]])).tolist() == [[3.0, 1.0]]
    assert read_itk_transform(path, SLICE, SLICE) == shift()
    with pytest.raises(FrameNotSupported, match="volume"):
        write_itk_transform(path, shift(fixed=VOLUME, moving=VOLUME), in_plane=True)


def test_pixels_without_spacing_are_refused(path: Path) -> None:
    """A picture has no mm, so no file that is in mm."""
    picture = ImageGrid((8, 9))
    with pytest.raises(FrameNotSupported, match="spacing"):
        write_itk_transform(path, shift(fixed=picture))
    write_itk_transform(path, shift(), in_plane=True)
    with pytest.raises(FrameNotSupported, match="spacing"):
        read_itk_transform(path, picture, SLICE)


def test_flags_go_with_the_file(path: Path) -> None:
    """A flagged transform is written where its flags are accepted, and SimpleITK and we read it; we see the flags."""
    flagged = shift(("LOW_OVERLAP", "VIEWS_DIFFER"))
    with pytest.raises(TransformFlagged, match="VIEWS_DIFFER"):
        write_itk_transform(path, flagged, accepted_flags=["LOW_OVERLAP"])
    write_itk_transform(path, flagged, accepted_flags=["LOW_OVERLAP", "VIEWS_DIFFER"])
    assert moved_by_simpleitk(path, np.zeros((1, 3))).tolist() == [[2.0, 0.0, 0.0]]
    assert read_itk_transform(path, SLICE, SLICE).flags == flagged.flags


def test_a_map_out_of_the_plane_is_refused(path: Path) -> None:
    """What takes the fixed slice 3 mm out of the moving one, 4 mm thick, is no planar transform; 1 mm is within it."""
    move = sitk.TranslationTransform(3, (0.0, 0.0, 1.0))
    sitk.WriteTransform(move, str(path))
    assert read_itk_transform(path, SLICE, SLICE).matrix.tolist() == np.eye(3).tolist()
    move.SetOffset((0.0, 0.0, 3.0))
    sitk.WriteTransform(move, str(path))
    with pytest.raises(FrameNotSupported, match="3 mm out of the moving slice's plane"):
        read_itk_transform(path, SLICE, SLICE)
    assert read_itk_transform(path, VOLUME, VOLUME).apply([[0, 0, 0]]).tolist() == [[0, 0, 0.75]]


def test_a_slice_and_a_volume_do_not_match(path: Path) -> None:
    """A transform relates two slices or two volumes."""
    write_itk_transform(path, shift())
    with pytest.raises(FrameNotSupported, match="one is a volume"):
        read_itk_transform(path, SLICE, VOLUME)


def test_an_askew_grid_is_kept_at_every_pixel(path: Path) -> None:
    """A displacement field on a sheared grid, which ITK does not have, is written as what it says at the pixels."""
    generator = np.random.default_rng(0)
    shear = np.array([[1.0, 0.4, -1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    field = DisplacementField(generator.normal(size=(2, 8, 14)) * 0.2, shear)
    bent = Transform.from_matrix(
        np.eye(3),
        (8, 9),
        (8, 9),
        fixed_geometry=SLICE.geometry,
        moving_geometry=SLICE.geometry,
        displacement_field=field,
    )
    write_itk_transform(path, bent)
    pixels = grid_points((8, 9))
    moved = moved_by_simpleitk(path, to_mm(SLICE, pixels, 3))
    np.testing.assert_allclose(moved, to_mm(SLICE, bent.apply(pixels), 3), atol=TOLERANCE_MM)


HEADER = "#Insight Transform File V1.0\n#Transform 0\n"
FIELD = HEADER + "Transform: DisplacementFieldTransform_double_2_2\nParameters: 0 0\n"
AFFINE = "Transform: AffineTransform_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no transform in ITK's text format"),
        ("\xff\xfe", "no transform in ITK's text format"),
        ("<xml>", "no transform in ITK's text format"),
        (HEADER, "no line says which transform"),
        (HEADER + "Parameters: 1\n", "no line says which transform"),
        (HEADER + AFFINE.replace("1 0 0 0 1", "1 0 x 0 1"), "cannot be understood"),
        (HEADER + AFFINE.replace("1 0 0 0 1", "1 0 nan 0 1"), "not finite"),
        (HEADER + AFFINE.replace("1 0 0 0 1", "1 0"), "9 parameters"),
        (HEADER + AFFINE.replace("1 0 0 0 1", "0 0 0 0 1"), "cannot be inverted"),
        (HEADER + AFFINE.replace("Fixed", "Other"), "not of ITK's text format"),
        (HEADER + AFFINE.replace("_3_3", "_4_4"), "not of ITK's text format"),
        (HEADER + AFFINE + AFFINE, "several transforms"),
        (HEADER + "Transform: CompositeTransform_double_3_3\n", "holds no transform"),
        (HEADER + AFFINE.replace("Affine", "BSpline"), "TransformToDisplacementField"),
        (
            FIELD + "FixedParameters: 2 2 0 0 1 1 1 0 0 1\n",
            "2 displacements on a grid of 2 x 2",
        ),
        (
            FIELD + "FixedParameters: 1e9 1e9 0 0 1 1 1 0 0 1\n",
            "2 displacements on a grid",
        ),
        (
            HEADER + "Transform: DisplacementFieldTransform_double_2_2\nParameters: 0 0\nFixedParameters: 1 1 0\n",
            "3 fixed parameters",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    """What is no transform that is read here is refused by name, with the reason."""
    path = tmp_path / "other.tfm"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InvalidField, match=reason) as refused:
        read_itk_transform(path, VOLUME, VOLUME)
    assert refused.value.field == "other.tfm"
