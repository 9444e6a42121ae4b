"""Tests of how acquired pairs are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.acquired import LandmarkPair, histology_pairs
from benchmarks.registrars.registrar import pixel_places
from services.fusion.registration import RegistrationImage


def test_landmark_errors_are_distances_in_the_moving_image() -> None:
    """A map that shifts all by (3, 4) is 5 px off where landmarks agree, and right where they are shifted so."""
    image = RegistrationImage(np.zeros((30, 40), np.float32))
    points = np.array([[5.0, 6.0], [20.0, 10.0]])
    shifted = pixel_places((30, 40)) + np.array([3.0, 4.0])
    same = LandmarkPair("same", image, image, points, points)
    np.testing.assert_allclose(same.errors_px(None), 0)
    np.testing.assert_allclose(same.errors_px(shifted), 5)
    np.testing.assert_allclose(
        LandmarkPair("moved", image, image, points, points + np.array([3, 4])).errors_px(shifted), 0
    )
    assert same.diagonal_px == 50


def test_each_stain_is_fixed_once_and_landmarks_lie_in_the_images(shared_data: Path) -> None:
    """Two tissues in both directions; partners have the same number, and all lie within their images."""
    pairs = list(histology_pairs(shared_data))
    assert len(pairs) == 4
    for pair in pairs:
        assert pair.fixed_px.shape == pair.moving_px.shape
        for points, image in ((pair.fixed_px, pair.fixed), (pair.moving_px, pair.moving)):
            assert (points >= 0).all()
            assert (points <= (image.size[1], image.size[0])).all()
