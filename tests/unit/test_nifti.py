"""NIfTI volumes: hung right, in place to the tenth of a micrometre, values exact."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.errors import FrameNotSupported, InvalidField, UnreadableImage
from hilum.files import MAX_VOXELS
from hilum.geometry import PatientFrame, PixelFrame, PlaneFrame, pixel_to_patient
from hilum.images import frame_count, read_image, read_volume
from hilum.planes import PlaneName

SHAPE = (6, 5, 4)  # x, y, z as stored
# nibabel is typed in parts only.
Nifti1Image: Any = nibabel.Nifti1Image
GRADIENT = np.asarray([1.0, 10.0, 100.0])
RAS = np.diag([1.0, 1.0, 1.0, 1.0])
LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
LPI = np.diag([-1.0, -1.0, -1.0, 1.0])
PERMUTED = np.asarray([[0.0, 0, -1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
OBLIQUE = np.asarray([[0.96, 0.28, 0, 0], [-0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def affine(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orientation with spacing .8 x 1.5 x 3 mm and an offset."""
    result = orientation @ np.diag([0.8, 1.5, 3.0, 1.0])
    result[:3, 3] = (-31.0, 17.5, 4.25)
    return result


def save(path: Path, voxels: NDArray[Any], world: NDArray[np.float64], slope: float = 1, inter: float = 0) -> Path:
    """A NIfTI file of stored voxels."""
    image = Nifti1Image(voxels, world)
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    return path


def gradient_file(path: Path, orientation: NDArray[np.float64]) -> Path:
    """A file whose every voxel says where it lies: GRADIENT times its place in LPS."""
    world = affine(orientation)
    index = np.stack([*np.indices(SHAPE), np.ones(SHAPE)], axis=-1)
    lps = (index @ world.T)[..., :3] * (-1, -1, 1)
    return save(path, (lps @ GRADIENT).astype(np.float32), world)


@pytest.mark.parametrize("orientation", [RAS, LAS, LPI, PERMUTED, OBLIQUE, PERMUTED @ OBLIQUE])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_pictures_hang_right_and_points_map_to_their_place(
    tmp_path: Path, orientation: NDArray[np.float64], plane: PlaneName
) -> None:
    """Axial and coronal show the patient's right on the left; every pixel's LPS place is exact."""
    path = gradient_file(tmp_path / "volume.nii.gz", orientation)
    for index in range(frame_count(path, plane=plane)):
        image = read_image(path, plane=plane, index=index)
        frame = image.geometry.frame
        assert isinstance(frame, PatientFrame)
        y, x = np.indices(image.size)
        lps = pixel_to_patient(frame, np.stack([x.ravel(), y.ravel()], axis=1))
        np.testing.assert_allclose(image.pixels.ravel(), lps @ GRADIENT, atol=1e-3)
        to_the_right, downwards = np.asarray(frame.direction)[:, 0], np.asarray(frame.direction)[:, 1]
        horizontal, vertical = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
        assert to_the_right[horizontal] > 0.7
        assert downwards[vertical] * (1 if plane == "axial" else -1) > 0.7


@pytest.mark.parametrize("orientation", [RAS, LAS, LPI, PERMUTED, OBLIQUE])
def test_volumes_are_turned_to_axial_slices_in_place(tmp_path: Path, orientation: NDArray[np.float64]) -> None:
    """Slices run upwards, rows backwards, columns to the patient's left; every voxel's LPS place is exact."""
    volume = read_volume(gradient_file(tmp_path / "volume.nii", orientation))
    frame = volume.geometry.frame
    assert isinstance(frame, PatientFrame)
    assert np.diag(frame.direction).min() > 0.7
    z, y, x = np.indices(volume.voxels.shape)
    lps = pixel_to_patient(frame, np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1))
    np.testing.assert_allclose(volume.voxels.ravel(), lps @ GRADIENT, atol=1e-3)


def test_a_right_sided_target_is_on_the_left_of_las_and_ras_pictures(tmp_path: Path) -> None:
    """A bright voxel on the patient's right appears in the left half, in a volume stored either way."""
    for world, column in ((RAS, -1), (LAS, 0)):
        voxels = np.zeros(SHAPE, np.int16)
        voxels[column, 2, 3] = 500  # RAS counts towards the left hand's other side: the last column is right
        path = save(tmp_path / "one.nii", voxels, affine(world))
        for plane, index in (("axial", 3), ("coronal", frame_count(path, plane="coronal") - 1 - 2)):
            image = read_image(path, plane=plane, index=index)  # type: ignore[arg-type]
            row, found = np.argwhere(image.pixels == 500)[0]
            assert found == 0
            assert plane == "axial" or row == 0


def test_scaling_is_exact_where_it_is_integral(tmp_path: Path) -> None:
    """scl_slope and scl_inter keep whole numbers in an integer type, and fractions as float32."""
    stored = np.arange(120, dtype=np.uint16).reshape(SHAPE)
    hounsfield = read_volume(save(tmp_path / "hu.nii", stored, RAS, 2, -1024))
    fraction = read_volume(save(tmp_path / "fraction.nii", stored, RAS, 0.5, 1))
    assert hounsfield.voxels.dtype == np.int16
    assert sorted(hounsfield.voxels.ravel().tolist()) == [2 * value - 1024 for value in range(120)]
    assert fraction.voxels.dtype == np.float32
    assert sorted(fraction.voxels.ravel().tolist()) == [0.5 * value + 1 for value in range(120)]


def test_spacing_in_metres_becomes_millimetres(tmp_path: Path) -> None:
    """A header in metres or micrometres gives the same frame as one in millimetres."""
    image = Nifti1Image(np.zeros(SHAPE, np.uint8), np.diag([0.001, 0.002, 0.003, 1.0]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "metres.nii")
    frame = read_volume(tmp_path / "metres.nii").geometry.frame
    assert isinstance(frame, PatientFrame)
    assert frame.spacing_mm == pytest.approx((1, 2, 3))


def test_without_orientation_only_spacing_is_claimed(tmp_path: Path) -> None:
    """A header that places the volume nowhere gives a calibrated plane, and a volume in pixels."""
    content = bytearray(Nifti1Image(np.zeros(SHAPE, np.uint8), affine(RAS)).to_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code
    path = tmp_path / "nowhere.nii"
    path.write_bytes(content)
    frame = read_image(path, index=0).geometry.frame
    assert isinstance(frame, PlaneFrame)
    assert frame.spacing_mm == pytest.approx((0.8, 1.5))
    assert read_volume(path).geometry.frame == PixelFrame()


def test_a_sheared_grid_is_read_only_where_pixels_are_rectangles(tmp_path: Path) -> None:
    """A volume of a tilted scan is refused, its own slices are read in place, cuts across them are refused."""
    world = affine(RAS)
    world[1, 2] = 0.9
    path = save(tmp_path / "tilted.nii", np.zeros(SHAPE, np.uint8), world)
    with pytest.raises(UnreadableImage, match="sheared"):
        read_volume(path)
    assert read_volume(path, allow_uneven=True).geometry.frame == PixelFrame()
    assert isinstance(read_image(path, index=0).geometry.frame, PatientFrame)
    with pytest.raises(FrameNotSupported, match="not perpendicular"):
        read_image(path, plane="sagittal", index=0)


def test_what_is_no_volume_of_grey_values_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Two or four dimensions, colour, values that are not finite, and a flat affine say what is wrong."""
    grey = np.zeros(SHAPE, np.float32)
    with pytest.raises(UnreadableImage, match="three dimensions"):
        read_image(save(tmp_path / "series.nii", np.zeros((*SHAPE, 3), np.int16), RAS), index=0)
    with pytest.raises(UnreadableImage, match="three dimensions"):
        read_volume(save(tmp_path / "flat.nii", np.zeros((5, 5), np.int16), RAS))
    with pytest.raises(UnreadableImage, match="not grey values"):
        read_volume(save(tmp_path / "phase.nii", np.zeros(SHAPE, np.complex64), RAS))
    grey[0, 0, 0] = np.nan
    with pytest.raises(UnreadableImage, match="not finite"):
        read_volume(save(tmp_path / "nan.nii", grey, RAS))


def test_a_fourth_dimension_of_one_is_no_obstacle(tmp_path: Path) -> None:
    """Some writers add an empty axis."""
    voxels = np.arange(120, dtype=np.int16).reshape(*SHAPE, 1)
    assert read_volume(save(tmp_path / "one.nii", voxels, RAS)).voxels.shape == SHAPE[::-1]


def test_a_slice_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    """Nothing is chosen silently; the error says how many there are."""
    path = gradient_file(tmp_path / "volume.nii", RAS)
    with pytest.raises(InvalidField, match="4 axial slices") as missing:
        read_image(path)
    with pytest.raises(InvalidField, match="axial slices are 0 to 3"):
        read_image(path, index=4)
    with pytest.raises(InvalidField, match="plane and an index") as frame:
        read_image(path, frame=1)
    assert (missing.value.field, frame.value.field) == ("index", "frame")


def test_damaged_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    """Cut short, compressed and cut short, or not NIfTI at all: an error that names the file."""
    whole = gradient_file(tmp_path / "whole.nii", RAS).read_bytes()
    cases = {"short.nii": whole[:-40], "short.nii.gz": gzip.compress(whole)[:-60], "text.nii": b"not an image" * 40}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImage, match=name):
            read_volume(tmp_path / name)


def test_a_huge_header_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    """A small file that claims billions of voxels costs nothing."""
    image = Nifti1Image(np.zeros(SHAPE, np.uint8), RAS)
    content = bytearray(image.to_bytes())
    content[40:56] = np.asarray([3, 2048, 2048, 2048, 1, 1, 1, 1], "<i2").tobytes()
    path = tmp_path / "huge.nii"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=f"at most {MAX_VOXELS}"):
        read_volume(path)
