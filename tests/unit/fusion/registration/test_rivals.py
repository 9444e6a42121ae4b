"""Tests of what chance reaches: mirror images as rivals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hilum.registration_options import RegistrationOptions
from services.fusion.registration.agreement import Agreement
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.deformation import Deformation
from services.fusion.registration.rivals import standing, turned_back
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.workspace import Workspace
from services.fusion.stepping import finished
from tests.unit.fusion.phantoms import Picture, bent, body_phantom, other_modality, tissue_phantom


def lead_of(fixed: Picture, moving: Picture, alignment: Alignment | None = None) -> float:
    alignment = alignment or Alignment.identity()
    workspace = Workspace(RegistrationImage(fixed), RegistrationImage(moving), 256, 64)
    judge = Agreement(workspace.at(128), with_targets=False)
    return finished(standing(workspace, alignment, judge, RegistrationOptions(), SearchGrid())).lead


def test_one_body_leads_its_mirror_images() -> None:
    """In another modality, too; a body that is mirrored itself falls behind the image that is not."""
    picture = tissue_phantom()
    assert lead_of(picture, other_modality(picture)) > 0.4
    assert lead_of(picture, np.ascontiguousarray(other_modality(picture)[:, ::-1])) < 0.0


def test_noise_does_not_lead() -> None:
    """Noise is no better than its mirror images, whatever is made of it."""
    picture = body_phantom()
    assert lead_of(picture, np.random.default_rng(0).random(picture.shape, np.float32)) < 0.2


def test_only_where_it_could_matter_a_rival_is_bent() -> None:
    """The lead of a bent alignment that is clear is that over unbent rivals; one in doubt has a bent rival to meet."""
    picture, displaced = tissue_phantom(), Alignment(Alignment.identity().matrix, Deformation.none(8))
    clear, mirrored = other_modality(picture), bent(other_modality(picture)[:, ::-1])[0]
    assert lead_of(picture, clear, displaced) == lead_of(picture, clear)
    assert lead_of(picture, mirrored, displaced) < lead_of(picture, mirrored)


def test_a_rival_is_searched_where_the_image_was_found() -> None:
    """Turned by a right angle, which no search from upright reaches, a mirrored body still meets its rival."""
    picture = body_phantom()
    turned = np.ascontiguousarray(np.rot90(other_modality(picture)[:, ::-1]))
    # Canvas rows point down, so that np.rot90 takes fixed (x, y) to (y, -x).
    quarter = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert lead_of(picture, turned, Alignment(quarter)) < 0.0


def test_what_turns_back() -> None:
    """The turn is undone, the scale is kept."""
    angle = np.deg2rad(12.0)
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2] = 1.1 * torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert turned_back(Alignment(matrix)) == pytest.approx((-12.0, 1.1))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_workspace_shows_the_mirror_image(axis: int) -> None:
    """Its canvas is that of the mirrored picture, and its pixels are told from working space accordingly."""
    picture = body_phantom()
    workspace = Workspace(RegistrationImage(picture), RegistrationImage(picture), 128, 64)
    flipped = RegistrationImage(np.ascontiguousarray(np.flip(picture, axis)))
    expected = Workspace(RegistrationImage(picture), flipped, 128, 64)
    mirrored = workspace.mirrored(axis)
    assert torch.allclose(mirrored.at(64).moving.pixels, expected.at(64).moving.pixels, atol=1e-5)
    corner = np.array([3.0, 5.0, 1.0])
    seen = np.array(corner)
    seen[1 - axis] = picture.shape[axis] - 1 - corner[1 - axis]
    assert mirrored.working_from_moving @ corner == pytest.approx(expected.working_from_moving @ seen)
