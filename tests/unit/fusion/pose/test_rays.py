"""Rays of radiographs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import InvalidField
from hilum.geometry import PatientFrame, pixel_to_patient
from hilum.pose import ConeBeam, ParallelBeam, Radiograph
from services.fusion.pose.rays import Rays
from tests.unit.fusion.pose.rooms import CENTRE, FROM_THE_FRONT, detector

SOURCE = (10.0, -900.0, 60.0)
PIXELS = np.arange(24 * 30, dtype=np.float64).reshape(24, 30)


def _radiograph(beam: ConeBeam | ParallelBeam) -> Radiograph:
    return Radiograph(PIXELS, detector(FROM_THE_FRONT, side_px=24), beam)


@given(st.integers(1, 4), st.floats(100, 800), st.integers(0, 1000))
def test_projected_points_are_met(factor: int, depth_mm: float, choice: int) -> None:
    """The ray through the pixel onto which a point is projected from the source passes through the point."""
    picture = _radiograph(ConeBeam(SOURCE))
    rays = Rays.of(picture, factor)
    index = choice % len(rays.origin)
    point = (rays.origin + depth_mm * rays.direction)[index].numpy()
    # Intersection of the line from source to point with the detector's plane, by hand.
    axes, origin = np.asarray(picture.detector.direction), np.asarray(picture.detector.origin_mm)
    along = point - SOURCE
    share = ((origin - SOURCE) @ axes[:, 2]) / (along @ axes[:, 2])
    x, y = ((SOURCE + share * along - origin) @ axes[:, :2]) / picture.detector.spacing_mm[:2]
    height, width = rays.image.shape
    row, column = divmod(index, width)
    assert height == 24 // factor
    np.testing.assert_allclose((x, y), np.array([column, row]) * factor + (factor - 1) / 2, atol=1e-6)


def test_parallel_rays_meet_their_pixels() -> None:
    """Parallel rays start at their pixels, run along the beam and have no end."""
    rays = Rays.of(_radiograph(ParallelBeam((0.0, 3.0, 0.0))), 1)
    y, x = np.mgrid[:24, :30]
    places = pixel_to_patient(detector(FROM_THE_FRONT, side_px=24), np.stack([x.ravel(), y.ravel()], axis=1))
    np.testing.assert_allclose(rays.origin, places)
    np.testing.assert_allclose(rays.direction, np.tile([0.0, 1.0, 0.0], (len(places), 1)))
    assert np.isinf(rays.reach.numpy()).all()


def test_blocks_of_pixels_are_means() -> None:
    """A coarse picture holds means over blocks; a block with an unexposed pixel is not valid."""
    rays = Rays.of(dataclasses.replace(_radiograph(ConeBeam(SOURCE)), padding_value=0.0), 2)
    assert float(rays.image[1, 1]) == PIXELS[2:4, 2:4].mean()
    assert not bool(rays.valid[0, 0])
    assert bool(rays.valid.flatten()[1:].all())


@pytest.mark.parametrize(
    "broken",
    [
        Radiograph(PIXELS[0], detector(FROM_THE_FRONT), ConeBeam(SOURCE)),
        Radiograph(PIXELS[:8], detector(FROM_THE_FRONT), ConeBeam(SOURCE)),
        Radiograph(PIXELS, detector(FROM_THE_FRONT), ParallelBeam((0.0, 0.0, 0.0))),
        Radiograph(PIXELS, detector(FROM_THE_FRONT), ParallelBeam((1.0, 0.0, 0.0))),
        Radiograph(PIXELS, detector(FROM_THE_FRONT), ConeBeam((5000.0, CENTRE[1] + 150.0, 0.0))),
    ],
    ids=["one axis", "too small", "no direction", "grazing", "source in the plane"],
)
def test_impossible_radiographs_are_refused(broken: Radiograph) -> None:
    """Sizes and beams that cannot be are refused, by name."""
    with pytest.raises(InvalidField) as caught:
        broken.check("radiographs[0]")
    assert str(caught.value.field).startswith("radiographs[0].")


def test_the_viewing_direction_is_the_central_ray() -> None:
    """From the source to the detector's middle, whatever lies at its corner."""
    frame = PatientFrame((0.0, 0.0, 0.0), FROM_THE_FRONT, (1.0, 1.0, 0.0))
    picture = Radiograph(np.zeros((21, 41)), frame, ConeBeam((20.0, -100.0, -10.0)))
    np.testing.assert_allclose(picture.viewing_direction(), (0, 1, 0), atol=1e-12)
