"""Size and place of images and volumes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import FrameNotSupported
from hilum.geometry import DetectorFrame, ImageGeometry, PlaneFrame, pixel_to_patient
from hilum.image_grid import ImageGrid
from hilum.warp import affine
from tests.unit.drawn_transforms import UNHURRIED, patient_frame


@UNHURRIED
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_voxels_have_their_place(seed: int, deep: bool) -> None:
    """Voxel indices, and pixels with mm along the normal, go to the LPS points of their frame."""
    generator = np.random.default_rng(seed)
    frame = patient_frame(generator, "1.2")
    grid = ImageGrid((4, 5, 6) if deep else (5, 6), ImageGeometry(frame))
    index = generator.uniform(0, 5, (10, 3))
    expected = pixel_to_patient(frame, index if deep else index / (1, 1, frame.spacing_mm[2]))
    np.testing.assert_allclose(affine(grid.patient_mm, index), expected, atol=1e-9)


def test_millimetres_in_the_plane() -> None:
    """Pixels go to mm from the first pixel's centre, of a detector in the patient's size."""
    detector = ImageGrid((5, 6), ImageGeometry(DetectorFrame((0.3, 0.6), 1.5)))
    np.testing.assert_allclose(affine(detector.plane_mm, np.array([[10.0, 10.0]])), [[2.0, 4.0]])


def test_places_that_are_not_known_are_refused() -> None:
    """A picture has neither mm nor a place, an ultrasound plane no place, and a volume no plane."""
    picture, plane = ImageGrid((5, 6)), ImageGrid((5, 6), ImageGeometry(PlaneFrame((1.0, 1.0))))
    with pytest.raises(FrameNotSupported, match="no spacing"):
        _ = picture.plane_mm
    with pytest.raises(FrameNotSupported, match="a volume has no plane"):
        _ = ImageGrid((4, 5, 6)).plane_mm
    for grid in (picture, plane):
        assert grid.patient_frame is None
        with pytest.raises(FrameNotSupported, match="PATIENT_LPS"):
            _ = grid.patient_mm


def test_the_reach_of_a_slice() -> None:
    """Half its thickness to either side, and 1 mm where that is not known."""
    generator = np.random.default_rng(0)
    thick, thin = (patient_frame(generator, "1.2", thickness=known) for known in (True, False))
    assert ImageGrid((5, 6), ImageGeometry(thick)).reach_mm == thick.spacing_mm[2] / 2
    assert ImageGrid((5, 6), ImageGeometry(thin)).reach_mm == 1
