"""Cutting volumes into pictures that hang as radiologists hang them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import ImageGeometry, PatientFrame, pixel_to_patient
from hilum.planes import Grid, PlaneName, slice_count, slice_volume
from hilum.types import Image, Volume

SHAPE = (4, 5, 6)  # depth, height, width
GRADIENT = np.asarray([1.0, 10.0, 100.0])
ORIENTATIONS = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def rotation(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    """A rotation about x, y and z in turn."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = c
        turn[i, j], turn[j, i] = -s, s
        result = turn @ result
    return result


def gradient_volume(direction: NDArray[np.float64]) -> Volume:
    """A volume whose every voxel says where it lies: GRADIENT times its LPS position."""
    rows = [tuple(float(value) for value in row) for row in direction]
    frame = PatientFrame((-20.0, 13.0, 7.0), (rows[0], rows[1], rows[2]), (0.7, 1.3, 2.5), "1.2.3")  # type: ignore[arg-type]
    z, y, x = np.indices(SHAPE)
    points = pixel_to_patient(frame, np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1))
    return Volume((points @ GRADIENT).reshape(SHAPE).astype(np.float32), ImageGeometry(frame))


def assert_in_place(image: Image) -> None:
    """Every pixel holds the value of the place where the geometry says it lies."""
    frame = image.geometry.frame
    assert isinstance(frame, PatientFrame)
    y, x = np.indices(image.size)
    points = pixel_to_patient(frame, np.stack([x.ravel(), y.ravel()], axis=1))
    np.testing.assert_allclose(image.pixels.ravel(), points @ GRADIENT, atol=2e-3)


def assert_hung(image: Image, plane: PlaneName) -> None:
    """Rows and columns run as the plane is hung."""
    frame = image.geometry.frame
    assert isinstance(frame, PatientFrame)
    direction = np.asarray(frame.direction)
    left, posterior, superior = np.eye(3)
    along = {"axial": (left, posterior), "coronal": (left, -superior), "sagittal": (posterior, -superior)}[plane]
    assert direction[:, 0] @ along[0] > 0.7
    assert direction[:, 1] @ along[1] > 0.7


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_every_orientation_is_hung_alike_and_stays_in_place(plane: PlaneName) -> None:
    """Whichever of the 48 ways a volume is stored, its pictures look the same and their points keep their places."""
    for direction in ORIENTATIONS:
        volume = gradient_volume(direction)
        image = slice_volume(volume, plane, 1)
        assert_in_place(image)
        assert_hung(image, plane)
        assert image.pixels.flags.c_contiguous


@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.floats(-0.3, 0.3)] * 3),
    st.sampled_from(["axial", "coronal", "sagittal"]),
    st.integers(0, 3),
)
def test_oblique_volumes_stay_in_place(
    direction: NDArray[np.float64], angles: tuple[float, float, float], plane: PlaneName, index: int
) -> None:
    """A tilted scan is cut along its own grid, and every pixel's place is exact."""
    image = slice_volume(gradient_volume(rotation(angles) @ direction), plane, index)
    assert_in_place(image)
    assert_hung(image, plane)


@pytest.mark.parametrize(("plane", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_slices_count_towards_superior_posterior_and_left(plane: PlaneName, axis: int) -> None:
    """Index 0 is the most inferior, anterior or right slice, whichever way the volume is stored."""
    for direction in ORIENTATIONS:
        volume = gradient_volume(direction)
        places = [slice_volume(volume, plane, index).geometry.frame for index in (0, 1)]
        origins = [place.origin_mm[axis] for place in places if isinstance(place, PatientFrame)]
        assert origins[1] > origins[0]


def test_a_slab_is_the_mean_of_its_slices_in_their_middle() -> None:
    """Three slices give their mean, three times the thickness, and the place of the middle one."""
    volume = gradient_volume(np.eye(3))
    slab = slice_volume(volume, "coronal", 2, slices=3)
    single = slice_volume(volume, "coronal", 2)
    np.testing.assert_allclose(slab.pixels, single.pixels, atol=1e-3)
    assert_in_place(slab)
    assert isinstance(slab.geometry.frame, PatientFrame)
    assert slab.geometry.frame.spacing_mm[2] == pytest.approx(3 * 1.3)


def test_a_slab_is_cut_off_at_the_volumes_end_and_stays_in_place() -> None:
    """At the first slice a slab of four holds the three that exist, and says where their middle is."""
    for direction in ORIENTATIONS:
        slab = slice_volume(gradient_volume(direction), "axial", 0, slices=4)
        assert_in_place(slab)
        assert slab.pixels.dtype == np.float32


def test_padding_source_and_frame_of_reference_are_kept() -> None:
    """A slice carries what its volume carries."""
    volume = gradient_volume(np.eye(3))
    image = slice_volume(Volume(volume.voxels, volume.geometry, padding_value=-1.0), "sagittal", 0)
    assert image.padding_value == -1.0
    assert isinstance(image.geometry.frame, PatientFrame)
    assert image.geometry.frame.frame_of_reference_uid == "1.2.3"


def test_missing_slices_planes_and_orientations_are_refused() -> None:
    """An index out of range, an unknown plane, an empty slab and a volume without orientation are refused by name."""
    volume = gradient_volume(np.eye(3))
    with pytest.raises(InvalidField, match=r"axial slices are 0 to 3") as error:
        slice_volume(volume, "axial", 4)
    assert error.value.field == "index"
    with pytest.raises(InvalidField, match="planes are axial"):
        slice_volume(volume, "oblique", 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match="at least one slice"):
        slice_volume(volume, "axial", 0, slices=0)
    with pytest.raises(FrameNotSupported, match="orientation is not known"):
        slice_volume(Volume(volume.voxels), "axial", 0)


def test_a_sheared_grid_is_recognised() -> None:
    """A grid whose steps are not perpendicular says so, and counts its slices all the same."""
    steps = np.asarray([[1.0, 0, 0], [0, 1, 0.4], [0, 0, 2]])
    sheared = Grid(np.zeros(3), steps, (6, 5, 4))
    assert sheared.is_sheared
    assert not Grid(np.zeros(3), np.diag([1.0, 2.0, 3.0]), (6, 5, 4)).is_sheared
    assert slice_count(sheared, "axial") == 4
