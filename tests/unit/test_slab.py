"""Tests of slabs that inherit the transform of a projection."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from hilum.displacement_field import DisplacementField
from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import ImageGeometry, PatientFrame, patient_to_pixel, pixel_to_patient
from hilum.image_grid import ImageGrid
from hilum.planes import slice_volume
from hilum.slab import inherited
from hilum.transform import Transform
from hilum.types import Volume

# Slices run towards the feet, so that a coronal projection along height is upright.
FRAME = PatientFrame((-40.0, -30.0, 90.0), ((1, 0, 0), (0, 1, 0), (0, 0, -1)), (2.0, 3.0, 4.0), "1.2")
VOLUME = Volume(np.random.default_rng(0).normal(size=(30, 20, 40)).astype(np.float32), ImageGeometry(FRAME))
# What ProjectVolume answers along height: a plane through the middle of the volume, as thick as it.
PLANE = PatientFrame((-40.0, -30.0 + 9.5 * 3.0, 90.0), ((1, 0, 0), (0, 0, 1), (0, -1, 0)), (2.0, 4.0, 60.0), "1.2")
PROJECTION = ImageGrid((30, 40), ImageGeometry(PLANE))
RADIOGRAPH = ImageGrid((200, 300))
MATRIX = np.array([[5.0, 0.3, 20.0], [-0.2, 6.0, 4.0], [0.0, 0.0, 1.0]])


def found(side: Literal["fixed", "moving"], flags: tuple[str, ...] = ()) -> Transform:
    """A deformable transform between projection and radiograph."""
    bend = np.random.default_rng(1).uniform(-0.4, 0.4, (2, 30, 40)).astype(np.float32)
    if side == "fixed":
        return Transform.from_matrix(
            MATRIX, PROJECTION.size, RADIOGRAPH.size, fixed_geometry=PROJECTION.geometry, flags=flags,
            displacement_field=DisplacementField(bend),
        )  # fmt: skip
    return Transform.from_matrix(
        np.linalg.inv(MATRIX), RADIOGRAPH.size, PROJECTION.size, moving_geometry=PROJECTION.geometry, flags=flags
    )


@pytest.mark.parametrize("index", range(20))
def test_every_coronal_slice_inherits(index: int) -> None:
    """A point of the patient in any coronal slice goes where the projection's transform takes it, flags and all."""
    transform = found("fixed", ("NO_IMPROVEMENT",))
    picture = slice_volume(VOLUME, "coronal", index)
    own = inherited(transform, ImageGrid(picture.size, picture.geometry))
    pixels = np.random.default_rng(index).uniform(1, 28, (12, 2))
    assert isinstance(picture.geometry.frame, PatientFrame)
    places = pixel_to_patient(picture.geometry.frame, pixels)
    projected, distance = patient_to_pixel(PLANE, places)
    assert np.abs(distance).max() <= 30
    np.testing.assert_allclose(own.apply(pixels), transform.apply(projected), atol=1e-6)
    assert own.flags == ("NO_IMPROVEMENT",)
    assert own.fixed_size == picture.size


def test_a_slab_on_the_moving_side() -> None:
    """Where the radiograph is fixed, its pixels go to the slab's as they went to the projection's."""
    transform = found("moving")
    picture = slice_volume(VOLUME, "coronal", 4, slices=5)
    own = inherited(transform, ImageGrid(picture.size, picture.geometry), side="moving")
    pixels = np.random.default_rng(3).uniform(30, 150, (12, 2))
    assert isinstance(picture.geometry.frame, PatientFrame)
    x_and_z = pixel_to_patient(picture.geometry.frame, own.apply(pixels))[:, [0, 2]]
    np.testing.assert_allclose(x_and_z, pixel_to_patient(PLANE, transform.apply(pixels))[:, [0, 2]], atol=1e-6)


def test_what_does_not_inherit() -> None:
    """Slices across the rays, outside of what was projected, of another frame or without a place are refused."""
    transform = found("fixed")
    axial = slice_volume(VOLUME, "axial", 3)
    coronal = slice_volume(VOLUME, "coronal", 3)
    assert isinstance(coronal.geometry.frame, PatientFrame)
    far = replace(coronal.geometry.frame, origin_mm=(-40.0, 100.0, 90.0))
    stranger = replace(coronal.geometry.frame, frame_of_reference_uid="9")
    for geometry, words in (
        (axial.geometry, "parallel"),
        (ImageGeometry(far), "project the part"),
        (ImageGeometry(stranger), "frame of reference"),
    ):
        with pytest.raises(InvalidField, match=words):
            inherited(transform, ImageGrid((30, 40), geometry))
    with pytest.raises(FrameNotSupported):
        inherited(transform, ImageGrid((30, 40)))
    with pytest.raises(InvalidField, match="between volumes"):
        inherited(Transform.from_matrix(np.eye(4), (3, 4, 5), (3, 4, 5)), PROJECTION)
