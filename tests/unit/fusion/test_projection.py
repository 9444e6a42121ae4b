"""Tests of the projection of volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.typing import NDArray

from hilum.errors import InvalidField
from hilum.types import ProjectionAxis, ProjectionMethod
from services.fusion.projection import project_volume, water_attenuation_per_mm

SPACING = (0.7, 0.8, 2.5)
AXES = list(zip(ProjectionAxis, (0, 1, 2), strict=True))
shapes = array_shapes(min_dims=3, max_dims=3, max_side=7)


def volume_of(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 400, shape).astype(np.float32)


@given(shapes, st.sampled_from(AXES))
def test_mean_and_maximum_are_those_along_the_axis(shape: tuple[int, ...], axis: tuple[ProjectionAxis, int]) -> None:
    """MEAN and MAXIMUM are the mean and maximum along the axis, the other two axes in their order."""
    volume = volume_of(shape)
    named, number = axis
    mean = project_volume(volume, SPACING, named, ProjectionMethod.MEAN)
    maximum = project_volume(volume, SPACING, named, ProjectionMethod.MAXIMUM)
    assert mean.pixels.dtype == np.float32
    assert np.allclose(mean.pixels, volume.mean(axis=number), atol=1e-3)
    assert np.array_equal(maximum.pixels, volume.max(axis=number))
    assert mean.valid.all()


@pytest.mark.parametrize(
    ("axis", "spacing"),
    [
        (ProjectionAxis.DEPTH, (0.7, 0.8)),
        (ProjectionAxis.HEIGHT, (0.7, 2.5)),
        (ProjectionAxis.WIDTH, (0.8, 2.5)),
    ],
)
def test_spacing_is_that_of_the_remaining_axes(axis: ProjectionAxis, spacing: tuple[float, float]) -> None:
    """The image's spacing is (x, y) of the two axes that remain; none stays none."""
    volume = volume_of((3, 4, 5))
    assert project_volume(volume, SPACING, axis, ProjectionMethod.MEAN).spacing_mm == spacing
    assert project_volume(volume, None, axis, ProjectionMethod.MEAN).spacing_mm is None


def test_slab_counts_only_its_slices() -> None:
    """A slab is half-open: slices before its first and from its last on do not count."""
    volume = np.zeros((2, 6, 3), np.int16)
    volume[:, 2:4] = 10
    projected = project_volume(volume, None, ProjectionAxis.HEIGHT, ProjectionMethod.MEAN, slab=(2, 4))
    assert (projected.pixels == 10).all()
    wider = project_volume(volume, None, ProjectionAxis.HEIGHT, ProjectionMethod.MEAN, slab=(2, 6))
    assert (wider.pixels == 5).all()


@pytest.mark.parametrize("axis", ProjectionAxis)
def test_attenuation_is_a_line_integral_in_mm(axis: ProjectionAxis) -> None:
    """Water of a known thickness attenuates by its coefficient times that thickness; air by nothing; bone by more."""
    water = np.zeros((40, 40, 40), np.int16)
    step = {ProjectionAxis.DEPTH: 2.5, ProjectionAxis.HEIGHT: 0.8, ProjectionAxis.WIDTH: 0.7}[axis]

    def value(volume: NDArray[Any]) -> float:
        pixels = project_volume(volume, SPACING, axis, ProjectionMethod.ATTENUATION).pixels
        assert np.ptp(pixels) == 0.0
        return float(pixels[0, 0])

    assert value(water) == pytest.approx(40 * step * water_attenuation_per_mm(60.0), rel=1e-6)
    assert value(np.full_like(water, -1000)) == 0.0
    assert value(np.full_like(water, -3000)) == 0.0
    assert value(np.full_like(water, 1000)) == pytest.approx(2 * value(water), rel=1e-6)


def test_water_attenuation_meets_the_table_and_falls_with_energy() -> None:
    """At a tabulated energy the coefficient is NIST's, and it falls from one energy to the next."""
    assert water_attenuation_per_mm(60.0) == pytest.approx(0.02059)
    coefficients = [water_attenuation_per_mm(energy) for energy in np.linspace(20, 150, 60)]
    assert (np.diff(coefficients) < 0).all()
    with pytest.raises(InvalidField, match="keV"):
        water_attenuation_per_mm(10.0)


@pytest.mark.parametrize("padding", [np.nan, -2048.0, np.inf])
def test_padding_does_not_count(padding: float) -> None:
    """Padding changes neither mean nor maximum, is air to attenuation, and rays of nothing else are invalid."""
    volume = np.full((4, 3, 5), 100.0, np.float32)
    volume[:2] = padding
    volume[:, 1, 2] = padding
    known = padding if np.isfinite(padding) else None
    expected = np.ones((3, 5), bool)
    expected[1, 2] = False
    for method in ProjectionMethod:
        projected = project_volume(volume, SPACING, ProjectionAxis.DEPTH, method, padding_value=known)
        assert np.array_equal(projected.valid, expected)
        assert np.isfinite(projected.pixels).all()
        reference = project_volume(np.full((2, 3, 5), 100.0), SPACING, ProjectionAxis.DEPTH, method)
        assert np.allclose(projected.pixels[expected], reference.pixels[expected])


def test_volume_of_padding_alone_is_zero_and_invalid() -> None:
    """Without one usable voxel the projection is zero and says that nothing is valid."""
    projected = project_volume(
        np.full((3, 4, 5), np.nan, np.float32), None, ProjectionAxis.WIDTH, ProjectionMethod.MAXIMUM
    )
    assert not projected.valid.any()
    assert (projected.pixels == 0).all()


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda v: project_volume(v[0], SPACING, ProjectionAxis.DEPTH, ProjectionMethod.MEAN), "volume"),
        (lambda v: project_volume(v[:0], SPACING, ProjectionAxis.DEPTH, ProjectionMethod.MEAN), "volume"),
        (
            lambda v: project_volume(v, (1.0, 0.0, 1.0), ProjectionAxis.DEPTH, ProjectionMethod.MEAN),
            "spacing_mm",
        ),
        (lambda v: project_volume(v, None, ProjectionAxis.DEPTH, ProjectionMethod.ATTENUATION), "spacing_mm"),
        (lambda v: project_volume(v, None, ProjectionAxis.DEPTH, ProjectionMethod.MEAN, slab=(2, 2)), "slab"),
        (lambda v: project_volume(v, None, ProjectionAxis.DEPTH, ProjectionMethod.MEAN, slab=(0, 9)), "slab"),
    ],
)
def test_unusable_arguments_are_named(call: Callable[[NDArray[np.float32]], object], field: str) -> None:
    """What cannot be projected is refused with the name of the argument."""
    with pytest.raises(InvalidField) as refused:
        call(volume_of((3, 4, 5)))
    assert refused.value.field == field
