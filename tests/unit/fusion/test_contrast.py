"""Tests of contrast to noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.contrast import contrast_to_noise, grown, surroundings


def disc(radius: float, size: int = 61) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    y, x = np.ogrid[:size, :size]
    return np.asarray(np.hypot(y - size // 2, x - size // 2) <= radius)


def test_contrast_is_measured_in_standard_deviations_of_what_lies_around() -> None:
    """The ratio is the difference of means over the standard deviation of the ring from 2 to 10 px, by definition."""
    random = np.random.default_rng(0)
    image, target = random.normal(10, 3, (61, 61)), disc(8)
    image[target] += 6
    y, x = np.indices(image.shape)
    distance = np.array([np.hypot(y - a, x - b)[target].min() for a, b in np.ndindex(61, 61)]).reshape(61, 61)
    ring = (distance > 2) & (distance <= 10)
    assert np.array_equal(ring, surroundings(target))
    expected = (image[target].mean() - image[ring].mean()) / image[ring].std()
    assert contrast_to_noise(image, target) == pytest.approx(expected)
    assert contrast_to_noise(-image, target) == pytest.approx(expected)


@given(st.floats(0.1, 50), st.floats(-100, 100))
def test_brightness_and_gain_do_not_matter(gain: float, offset: float) -> None:
    """A linear change of grey levels changes nothing."""
    image = np.random.default_rng(1).normal(0, 1, (61, 61)) + disc(6)
    expected = contrast_to_noise(image, disc(6))
    assert contrast_to_noise(gain * image + offset, disc(6)) == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_measured_has_no_contrast() -> None:
    """Nothing around or in the target gives 0, a target on flat ground infinity, and unusable pixels do not count."""
    target = disc(6)
    assert contrast_to_noise(np.ones((61, 61)), target) == 0
    assert contrast_to_noise(target.astype(float), target) == np.inf
    assert contrast_to_noise(target.astype(float), np.ones_like(target)) == 0
    assert contrast_to_noise(target.astype(float), np.zeros_like(target)) == 0
    assert contrast_to_noise(np.random.default_rng(0).random((61, 61)), target, ~target) == 0


def test_growing_is_euclidean() -> None:
    """A pixel grows to a disc, an empty mask to nothing."""
    point = np.zeros((61, 61), bool)
    point[30, 30] = True
    assert np.array_equal(grown(point, 7), disc(7))
    assert not grown(np.zeros((5, 5), bool), 3).any()
