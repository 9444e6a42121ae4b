"""Tests of the free-form refinement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hilum.registration_options import LandmarkPair
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.comparison import compare_gradients, compare_mind
from services.fusion.registration.deformation import smallest_determinant
from services.fusion.registration.free_form import LEAST_DETERMINANT, FreeFormLevel, refine_free_form
from services.fusion.registration.workspace import Workspace
from services.fusion.stepping import finished
from tests.unit.fusion.phantoms import Picture, bent, other_modality, tissue_phantom

SIZE = (256, 256)
EVERY = torch.arange(256, dtype=torch.float64)
PICTURE = tissue_phantom()
LEVELS = (
    FreeFormLevel(64, 8, 20, compare_mind, 3e-3),
    FreeFormLevel(128, 16, 10, compare_mind, 3e-3),
    FreeFormLevel(128, 16, 10, compare_gradients, 1e-3),
    FreeFormLevel(256, 16, 5, compare_gradients, 1e-3),
)
IMAGE = RegistrationImage(PICTURE)


def refined(workspace: Workspace, *levels: FreeFormLevel) -> Alignment:
    alignment = Alignment.identity()
    for level in levels:
        last = finished(refine_free_form(workspace.at(level.size), alignment, level))
        alignment = last.alignment
    return alignment


def displacements_px(workspace: Workspace, alignment: Alignment) -> NDArray[np.float64]:
    return workspace.displacements_px(alignment, EVERY, EVERY)


def error(workspace: Workspace, alignment: Alignment, places: NDArray[np.float64], picture: Picture) -> float:
    missed = workspace.moving_places_px(alignment, EVERY, EVERY) - places
    return float(np.linalg.norm(missed, axis=0)[picture > 0.1].mean())


def test_finds_a_bend_in_another_modality() -> None:
    """A bend of some pixels is found to a fraction of a pixel, and without it the error is some pixels."""
    moving, places = bent(PICTURE)
    workspace = Workspace(IMAGE, RegistrationImage(other_modality(moving)), 256, 64)
    assert error(workspace, Alignment.identity(), places, PICTURE) > 3.0
    assert error(workspace, refined(workspace, *LEVELS), places, PICTURE) < 0.6


def test_an_image_that_fits_is_left_alone() -> None:
    """Registered to itself in another modality, nothing moves by more than a fraction of a pixel."""
    workspace = Workspace(IMAGE, RegistrationImage(other_modality(PICTURE)), 256, 64)
    displacements = displacements_px(workspace, refined(workspace, *LEVELS))
    assert np.linalg.norm(displacements, axis=0)[PICTURE > 0.1].mean() < 0.3


@given(st.integers(0, 10_000), st.floats(4.0, 20.0), st.sampled_from([3e-5, 3e-4]))
@settings(deadline=None, max_examples=10)
def test_never_folds(seed: int, amplitude_px: float, bending: float) -> None:
    """Even towards bends that fold, and with little bending energy, no place loses nine tenths of its area."""
    picture = tissue_phantom(seed=seed)
    workspace = Workspace(RegistrationImage(picture), RegistrationImage(bent(picture, amplitude_px)[0]), 64, 64)
    alignment = Alignment.identity()
    for reached in refine_free_form(workspace.at(64), alignment, FreeFormLevel(64, 16, 8, compare_mind, bending)):
        alignment = alignment if reached is None else reached.alignment
        assert smallest_determinant(alignment.displaced(64) * 32.0) >= LEAST_DETERMINANT
    assert alignment.deformation is not None
    assert alignment.deformation.control.abs().max() > 0.01


def test_bending_energy_holds() -> None:
    """A heavier weight leaves less bending."""
    workspace = Workspace(IMAGE, RegistrationImage(bent(PICTURE)[0]), 64, 64)
    energies = []
    for weight in (1e-3, 1e-1):
        deformation = refined(workspace, replace(LEVELS[0], bending=weight)).deformation
        assert deformation is not None
        energies.append(deformation.bending_energy)
    assert energies[1] < 0.5 * energies[0]


def test_landmarks_pull_only_where_they_are() -> None:
    """A strong landmark is met; far from it the deformation is as good as without."""
    pair = LandmarkPair((100.0, 120.0), (106.0, 116.0))
    workspace = Workspace(IMAGE, IMAGE, 64, 64, landmarks=[pair])
    alignment = refined(workspace, FreeFormLevel(64, 8, 20, compare_mind, 1e-4, landmark_weight=1e3))
    places = workspace.moving_places_px(alignment, EVERY, EVERY)
    assert np.allclose(places[:, 120, 100], pair.moving_px, atol=0.3)
    assert np.linalg.norm(places[:, 120, 210] - (210.0, 120.0)) < 1.5


def bending_px(workspace: Workspace, alignment: Alignment, region: NDArray[np.bool_]) -> float:
    """How far a region is, root mean square, from having moved by one rotation, scale and shift."""
    x, y = workspace.moving_places_px(alignment, EVERY, EVERY)[:, region]
    rows, columns = np.nonzero(region)
    start = np.stack([columns + 1j * rows, np.ones(len(rows))], axis=1)
    _, squares, *_ = np.linalg.lstsq(start, x + 1j * y, rcond=None)
    return float(np.sqrt(np.abs(squares[0]) / len(rows)))


def test_a_rigid_region_does_not_bend() -> None:
    """Bone in a bend is bent less than a quarter as much when it is marked, and the rest still follows."""
    moving, places = bent(PICTURE, 6.0)
    bone = np.zeros(SIZE, np.bool_)
    bone[100:170, 60:110] = True
    image = RegistrationImage(moving)
    free = Workspace(IMAGE, image, 256, 64)
    held = Workspace(IMAGE, image, 256, 64, rigid_region=bone)
    stiff = [replace(level, rigid_weight=3.0) for level in LEVELS]
    bending = bending_px(free, refined(free, *LEVELS), bone)
    alignment = refined(held, *stiff)
    assert bending > 0.5
    assert bending_px(held, alignment, bone) < 0.25 * bending
    elsewhere = (PICTURE > 0.1) & (np.indices(SIZE)[1] > 140)
    missed = np.linalg.norm(held.moving_places_px(alignment, EVERY, EVERY) - places, axis=0)
    assert missed[elsewhere].mean() < 1.0


def test_similarity_and_start_are_reported() -> None:
    """The first yield is the start."""
    workspace = Workspace(IMAGE, IMAGE, 64, 64)
    looks = refine_free_form(workspace.at(64), Alignment.identity(), LEVELS[0])
    first = next(look for look in looks if look is not None)
    assert first.alignment.deformation is not None
    assert torch.equal(first.alignment.deformation.control, torch.zeros(2, 11, 11, dtype=torch.float64))
    assert first.similarity == pytest.approx(1.0, abs=1e-3)
