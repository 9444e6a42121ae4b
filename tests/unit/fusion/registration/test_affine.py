"""Tests of the affine refinement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.fusion.registration.affine import (
    AFFINE_DEGREES,
    SIMILARITY_DEGREES,
    AffineLevel,
    correction,
    refine_affine,
    target_disagreement,
)
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.similarity import Measure, information_measure, structure_measure
from services.fusion.registration.workspace import Workspace
from tests.unit.fusion.phantoms import body_phantom, motion, moved, other_modality, registration_error

SIZE = (256, 256)
TRUE = motion(SIZE, 4.0, 1.05, (6.0, -5.0))
small = st.floats(-0.3, 0.3)


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
    for degrees in (SIMILARITY_DEGREES, AFFINE_DEGREES):
        assert torch.equal(correction(torch.zeros(degrees)), torch.eye(3))


@pytest.mark.parametrize("measure", [structure_measure, information_measure])
@pytest.mark.parametrize("degrees", [SIMILARITY_DEGREES, AFFINE_DEGREES])
def test_climbs_to_a_small_motion(measure: Callable[[torch.Tensor], Measure], degrees: int) -> None:
    """From a start some pixels off, either measure finds the motion in another modality to a pixel."""
    fixed = body_phantom()
    moving = other_modality(moved(fixed, TRUE))
    workspace = Workspace(RegistrationImage(fixed), RegistrationImage(moving), 128, 64)
    alignment = Alignment.identity()
    for size, step in ((64, 0.02), (128, 0.006)):
        *_, last = refine_affine(workspace.at(size), alignment, AffineLevel(size, 30, step, measure, degrees))
        alignment = last.alignment
    assert registration_error(workspace.fixed_to_moving_px(alignment), TRUE, fixed).mean() < 1.0


def test_yields_every_step_and_the_start_first() -> None:
    """There is one yield before each step, beginning with the start itself, and one for the result."""
    image = RegistrationImage(body_phantom(64))
    start = Alignment(torch.diag(torch.tensor([1.1, 0.9, 1.0], dtype=torch.float64)))
    level = AffineLevel(64, 5, 0.01, structure_measure)
    reached = list(refine_affine(Workspace(image, image, 64, 64).at(64), start, level))
    assert len(reached) == 6
    assert torch.equal(reached[0].alignment.matrix, start.matrix)
    assert reached[-1].similarity > reached[0].similarity


def test_targets_pull() -> None:
    """Where outlines differ by a shift and the images do not, a strong target term moves towards the outlines."""
    picture = body_phantom()
    target = picture > 0.5
    moving_target = np.roll(target, 12, axis=1)
    workspace = Workspace(
        RegistrationImage(picture, targets=(target,)), RegistrationImage(picture, targets=(moving_target,)), 64, 64
    )
    pair = workspace.at(64)
    level = AffineLevel(64, 30, 0.02, structure_measure, target_weight=50.0)
    *_, last = refine_affine(pair, Alignment.identity(), level)
    before = target_disagreement(pair, Alignment.identity().matrix)
    after = target_disagreement(pair, last.alignment.matrix)
    assert after < 0.4 * before
    assert workspace.fixed_to_moving_px(last.alignment)[0, 2] == pytest.approx(12.0, abs=6.0)
