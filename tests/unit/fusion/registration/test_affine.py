"""Tests of the affine refinement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilum.registration_options import LandmarkPair
from services.fusion.registration.affine import (
    AFFINE_DEGREES,
    RIGID_DEGREES,
    SIMILARITY_DEGREES,
    AffineLevel,
    correction,
    motions,
    refine_affine,
)
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.comparison import Compare, compare_information, compare_structure
from services.fusion.registration.workspace import Workspace
from services.fusion.stepping import finished
from tests.unit.fusion.phantoms import body_phantom, motion, moved, other_modality, registration_error

SIZE = (256, 256)
TRUE = motion(SIZE, 4.0, 1.05, (6.0, -5.0))
small = st.floats(-0.3, 0.3)


@given(arrays(np.float64, RIGID_DEGREES, elements=small))
def test_three_numbers_make_a_rigid_motion(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Three numbers keep lengths, and the shift is as given."""
    matrix = correction(torch.from_numpy(values)).numpy()
    assert np.allclose(matrix[:2, :2] @ matrix[:2, :2].T, np.eye(2))
    assert np.allclose(matrix[:2, 2], values[:2])


@given(arrays(np.float64, SIMILARITY_DEGREES, elements=small))
def test_four_numbers_make_a_similarity(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Four numbers keep angles: the linear part is one scale times a rotation, and scale and shift are as given."""
    matrix = correction(torch.from_numpy(values)).numpy()
    linear = matrix[:2, :2]
    assert np.allclose(linear @ linear.T, np.exp(2 * values[3]) * np.eye(2))
    assert np.allclose(matrix[:2, 2], values[:2])
    assert np.array_equal(matrix[2], [0.0, 0.0, 1.0])


@given(arrays(np.float64, AFFINE_DEGREES, elements=small))
def test_six_numbers_never_fold(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Whatever the numbers, the matrix is affine and keeps orientation, with the area that the scale says."""
    matrix = correction(torch.from_numpy(values)).numpy()
    assert np.linalg.det(matrix) == pytest.approx(np.exp(2 * values[3]))


def test_zero_is_the_identity() -> None:
    """All numbers zero change nothing."""
    for degrees in (RIGID_DEGREES, SIMILARITY_DEGREES, AFFINE_DEGREES):
        assert torch.equal(correction(torch.zeros(degrees)), torch.eye(3))


@pytest.mark.parametrize("degrees", [RIGID_DEGREES, SIMILARITY_DEGREES, AFFINE_DEGREES])
def test_motions_are_the_derivatives_of_corrections(degrees: int) -> None:
    """A small number moves points by its motion."""
    x, y = torch.tensor([0.3, -0.7]).double(), torch.tensor([-0.2, 0.9]).double()
    step = 1e-6
    for number in range(degrees):
        matrix = correction(step * torch.eye(degrees, dtype=torch.float64)[number])
        moved = matrix[:2, :2] @ torch.stack([x, y]) + matrix[:2, 2:]
        assert torch.allclose((moved - torch.stack([x, y])) / step, motions(x, y, degrees)[number], atol=1e-5)


@pytest.mark.parametrize("compare", [compare_structure, compare_information])
@pytest.mark.parametrize("degrees", [SIMILARITY_DEGREES, AFFINE_DEGREES])
def test_climbs_to_a_small_motion(compare: Compare, degrees: int) -> None:
    """From a start some pixels off, either measure finds the motion in another modality to a pixel."""
    fixed = body_phantom()
    moving = other_modality(moved(fixed, TRUE))
    workspace = Workspace(RegistrationImage(fixed), RegistrationImage(moving), 128, 64)
    alignment = Alignment.identity()
    for size in (64, 128):
        last = finished(refine_affine(workspace.at(size), alignment, AffineLevel(size, 15, compare, degrees)))
        alignment = last.alignment
    assert registration_error(workspace.fixed_to_moving_px(alignment), TRUE, fixed).mean() < 1.0


def test_yields_the_start_first_and_never_falls() -> None:
    """The first yield is the start itself, and similarity only rises."""
    image = RegistrationImage(body_phantom(64))
    start = Alignment(torch.diag(torch.tensor([1.1, 0.9, 1.0], dtype=torch.float64)))
    level = AffineLevel(64, 5, compare_structure)
    looks = refine_affine(Workspace(image, image, 64, 64).at(64), start, level)
    reached = [look for look in looks if look is not None]
    assert torch.equal(reached[0].alignment.matrix, start.matrix)
    similarities = [candidate.similarity for candidate in reached]
    assert similarities == sorted(similarities)
    assert similarities[-1] > similarities[0]


def test_targets_pull() -> None:
    """Where outlines differ by a shift and the images do not, a strong target term moves towards the outlines."""
    picture = body_phantom()
    target = picture > 0.5
    moving_target = np.roll(target, 12, axis=1)
    workspace = Workspace(
        RegistrationImage(picture, targets=(target,)), RegistrationImage(picture, targets=(moving_target,)), 64, 64
    )
    level = AffineLevel(64, 30, compare_structure, RIGID_DEGREES, target_weight=50.0)
    last = finished(refine_affine(workspace.at(64), Alignment.identity(), level))
    assert workspace.fixed_to_moving_px(last.alignment)[0, 2] == pytest.approx(12.0, abs=3.0)


def test_landmarks_pull() -> None:
    """A strong landmark is met exactly, whatever the images say."""
    picture = RegistrationImage(body_phantom())
    pair = LandmarkPair((100.0, 90.0), (110.0, 84.0))
    workspace = Workspace(picture, picture, 64, 64, landmarks=[pair])
    level = AffineLevel(64, 30, compare_structure, RIGID_DEGREES, landmark_weight=1e4)
    last = finished(refine_affine(workspace.at(64), Alignment.identity(), level))
    met = workspace.fixed_to_moving_px(last.alignment) @ (*pair.fixed_px, 1.0)
    assert np.allclose(met[:2], pair.moving_px, atol=0.2)
