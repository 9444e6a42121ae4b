"""What the fake fusion service computes, against the service's own cores where they promise the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import NoContent
from hilum.registration_options import LandmarkPair
from hilum.testing import alignment
from hilum.types import Image, ProjectionAxis, ProjectionMethod
from hilum.warp import Warp
from services.fusion.projection import project_volume
from services.fusion.resampling import resample

numbers = st.floats(-3, 3)


@settings(deadline=None)
@given(
    st.tuples(numbers, numbers, st.floats(-30, 30), numbers, numbers, st.floats(-30, 30)),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["uint8", "int16", "float32"]),
)
def test_resampling_is_the_service_s(elements: tuple[float, ...], nearest: bool, padded: bool, dtype: str) -> None:
    """Values and coverage are those of the service, for any affine transform, with and without padding."""
    moving = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(dtype)
    valid = np.arange(30)[None] * np.ones((20, 1)) > 10 if padded else None
    matrix = np.array([elements[:3], elements[3:], (0, 0, 1)])
    # Off the grid's halves and edges, where either neighbour may be taken.
    matrix[:2] += 1.234567e-4
    ours, covered = alignment.resample(moving, Warp(matrix), (15, 25), nearest=nearest, background=3, valid=valid)
    theirs = resample(moving, Warp(matrix), (15, 25), nearest=nearest, background=3, valid=valid)
    assert np.mean(covered != theirs.coverage) < 0.02
    both = covered & theirs.coverage
    differing = np.abs(ours.astype(float) - theirs.pixels.astype(float))[both] > 1
    assert np.count_nonzero(differing) <= 0.02 * both.size


@pytest.mark.parametrize("method", ProjectionMethod)
@pytest.mark.parametrize("axis", ProjectionAxis)
def test_projection_is_the_service_s(axis: ProjectionAxis, method: ProjectionMethod) -> None:
    """Projections are those of the service."""
    voxels = np.random.default_rng(0).integers(-1000, 2000, (4, 5, 6)).astype(np.int16)
    voxels[1, 2, 3] = -2000
    along = {ProjectionAxis.DEPTH: 0, ProjectionAxis.HEIGHT: 1, ProjectionAxis.WIDTH: 2}[axis]
    spacing = (0.5, 0.75, 2.0)
    ours = alignment.project(
        voxels, along=along, method=method, spacing_mm=spacing[2 - along], slab=(1, 4), padding_value=-2000
    )
    theirs = project_volume(voxels, spacing, axis, method, slab=(1, 4), padding_value=-2000).pixels
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_shifts() -> None:
    """What is bright is brought on what is bright, or target on target, or landmark on landmark; nothing else moves."""
    fixed, moving = np.zeros((30, 40), np.int16), np.zeros((35, 45), np.int16)
    fixed[5:10, 5:10], moving[8:13, 12:17] = 9, 9
    assert alignment.shift_between(Image(fixed), Image(moving), (), ()).tolist() == [[1, 0, 7], [0, 1, 3], [0, 0, 1]]
    target = fixed > 0, np.roll(fixed > 0, (2, 1), (0, 1))
    assert alignment.shift_between(Image(fixed), Image(moving), [target], ()).tolist() == [
        [1, 0, 1],
        [0, 1, 2],
        [0, 0, 1],
    ]
    landmark = LandmarkPair((1.0, 2.0), (5.0, 7.0))
    shift = alignment.shift_between(Image(fixed), Image(moving), [target], [landmark])
    assert shift.tolist() == [[1, 0, 4], [0, 1, 5], [0, 0, 1]]
    with pytest.raises(NoContent) as caught:
        alignment.shift_between(Image(fixed), Image(np.full((9, 9), 3)), (), ())
    assert caught.value.field == "moving.pixels"
    with pytest.raises(NoContent):
        alignment.bright(Image(np.array([[7, 1], [7, 1]]), padding_value=1), "fixed.pixels")


def test_figures() -> None:
    """Equal images have no edge difference and a Dice of 1."""
    image = np.random.default_rng(0).normal(size=(20, 30))
    everywhere = np.ones((20, 30), np.bool_)
    assert alignment.edge_difference(image, image, everywhere) == 0
    assert alignment.edge_difference(image, image[::-1], everywhere) > 0
    assert alignment.edge_difference(image, image, ~everywhere) == 0
    assert alignment.dice(everywhere, everywhere) == alignment.dice(~everywhere, ~everywhere) == 1
    assert alignment.dice(everywhere, ~everywhere) == 0
