"""Tests of the similarity measures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from services.fusion.registration.similarity import (
    Measure,
    gradient_field,
    gradient_measure,
    information_measure,
    mind_measure,
    mind_ssc,
    orientation_tensor,
    structure_measure,
)
from tests.unit.fusion.phantoms import body_phantom, motion, moved, other_modality

MEASURES = [mind_measure, gradient_measure, structure_measure, information_measure]


def picture(size: int = 96) -> Tensor:
    return torch.from_numpy(body_phantom(size))


def noise(seed: int, size: int = 32) -> Tensor:
    return torch.rand(size, size, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000), st.floats(0.1, 50.0), st.floats(-100.0, 100.0), st.booleans())
@settings(deadline=None)
def test_mind_does_not_see_brightness_contrast_or_inversion(
    seed: int, gain: float, offset: float, inverted: bool
) -> None:
    """MIND-SSC is the same when intensities are scaled, shifted or inverted."""
    image = noise(seed).double()
    changed = (-gain if inverted else gain) * image + offset
    assert torch.allclose(mind_ssc(image), mind_ssc(changed), atol=1e-4)


def test_mind_has_four_channels_per_dilation_in_the_unit_interval() -> None:
    """The descriptor has the promised shape and range, and is 1 in some channel of each dilation."""
    descriptors = mind_ssc(noise(0), dilations=(1, 2, 3))
    assert descriptors.shape == (12, 32, 32)
    assert descriptors.min() >= 0.0
    assert torch.allclose(descriptors.reshape(3, 4, 32, 32).amax(dim=1), torch.ones(3, 32, 32))


def test_mind_tells_structures_apart() -> None:
    """Different pictures have different descriptors."""
    assert (mind_ssc(noise(0)) - mind_ssc(noise(1))).abs().mean() > 0.1


@given(st.integers(0, 1000), st.floats(0.1, 50.0), st.floats(-100.0, 100.0), st.booleans())
@settings(deadline=None)
def test_orientation_does_not_see_brightness_contrast_or_inversion(
    seed: int, gain: float, offset: float, inverted: bool
) -> None:
    """The orientation tensor of the gradient field is the same when intensities are scaled, shifted or inverted."""
    image = noise(seed).double()
    changed = (-gain if inverted else gain) * image + offset
    first, second = (orientation_tensor(gradient_field(shown)) for shown in (image, changed))
    assert torch.allclose(first, second, atol=1e-4)


def test_inner_product_of_orientation_tensors_is_the_squared_one_of_the_fields() -> None:
    """The tensor's inner product is exactly that of normalised gradient fields, squared."""
    first, second = gradient_field(noise(0)), gradient_field(noise(1))
    product = (orientation_tensor(first) * orientation_tensor(second)).sum(dim=0)
    assert torch.allclose(product, (first * second).sum(dim=0).square(), atol=1e-6)


def test_gradient_field_points_along_x_and_y() -> None:
    """Component 0 is along x (columns), component 1 along y (rows), and no vector is as long as one."""
    ramp = torch.arange(16.0).expand(16, 16)
    field = gradient_field(ramp)
    assert (field[0, :, 1:-1] > 0.5).all()
    assert (field[1] == 0).all()
    assert field.square().sum(dim=0).max() < 1.0


@pytest.mark.parametrize("prepare", MEASURES)
def test_measures_peak_where_modalities_align(prepare: Callable[[Tensor], Measure]) -> None:
    """Seen in another modality, the picture is most similar in place, less so the farther it slips."""
    size = 96
    fixed = body_phantom(size)
    measure, weight = prepare(torch.from_numpy(fixed)), torch.ones(size, size)

    def slipped(shift: float) -> float:
        shown = other_modality(moved(fixed, motion((size, size), shift=(shift, shift / 2))))
        return float(measure(torch.from_numpy(shown), weight))

    values = [slipped(shift) for shift in (0.0, 2.0, 6.0)]
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("prepare", [mind_measure, gradient_measure, structure_measure])
def test_structure_measures_reach_one_for_equal_structure(prepare: Callable[[Tensor], Measure]) -> None:
    """An inverted copy is as similar as can be: 1."""
    image = picture()
    assert float(prepare(image)(1.0 - image, torch.ones_like(image))) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("prepare", MEASURES)
def test_nothing_is_similar_without_overlap(prepare: Callable[[Tensor], Measure]) -> None:
    """Where no pixel has weight the similarity is zero, never perfect."""
    image = picture()
    assert float(prepare(image)(image, torch.zeros_like(image))) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("prepare", MEASURES)
def test_pixels_without_weight_do_not_count(prepare: Callable[[Tensor], Measure]) -> None:
    """What the moving image shows far inside the unweighted half changes nothing."""
    image = picture()
    weight = torch.ones_like(image)
    weight[:, 40:] = 0.0
    changed = image.clone()
    changed[:, 60:] = 0.0
    measure = prepare(image)
    assert float(measure(image, weight)) == pytest.approx(float(measure(changed, weight)), abs=0.02)


def test_gradient_of_information_agrees_with_differences() -> None:
    """The derivative that the optimiser follows is the one that finite differences show."""
    measure = information_measure(noise(0).double())
    weight = torch.ones(32, 32, dtype=torch.float64)
    moving = noise(1).double().requires_grad_(True)
    direction = noise(2).double() - 0.5
    measure(moving, weight).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert moving.grad is not None
    expected = float((moving.grad * direction).sum())
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (measure(moving + sign * step * direction, weight) for sign in (1, -1))
    assert float(ahead - behind) / (2 * step) == pytest.approx(expected, rel=0.15)


def test_information_is_that_of_a_known_joint_density() -> None:
    """Of an image with itself it is near the entropy of its values; of independent images near zero."""
    values = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (128, 128)) / 3.0).float()
    other = torch.from_numpy(np.random.default_rng(1).integers(0, 4, (128, 128)) / 3.0).float()
    weight = torch.ones_like(values)
    assert float(information_measure(values)(values, weight)) == pytest.approx(np.log(4), rel=0.02)
    assert float(information_measure(values)(1.0 - values, weight)) == pytest.approx(np.log(4), rel=0.02)
    assert float(information_measure(values)(other, weight)) == pytest.approx(0.0, abs=0.01)
