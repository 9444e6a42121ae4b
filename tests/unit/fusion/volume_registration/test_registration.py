"""Tests of whole registrations of volumes with known warps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hilum.displacement_field import grid_points
from hilum.errors import InvalidField, NoContent
from hilum.geometry import Float, PatientFrame
from hilum.registration_options import TransformModel
from hilum.transform import Transform
from hilum.types import RegistrationProgress
from hilum.volume_registration import VolumeRegistrationOptions
from hilum.warp import Warp, inverted
from services.fusion.registration.stages import Step
from services.fusion.stepping import Finished, finished, next_step
from services.fusion.volume_registration import RegistrationVolume, VolumeOutcome, VolumeRegistration
from services.fusion.volume_registration import registration as module
from services.fusion.volume_registration.agreement import Agreement
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.stages import Steps
from services.fusion.volume_registration.workspace import Workspace
from tests.unit.fusion.volume_registration.bodies import (
    FRAME,
    SIDE,
    SPACING_MM,
    bent_places,
    body,
    other_modality,
    resampled,
    volume,
)

PLACES = bent_places()
BODY = body()


def register(
    fixed: RegistrationVolume, moving: RegistrationVolume, **options: object
) -> tuple[VolumeOutcome, list[RegistrationProgress]]:
    run = VolumeRegistration().run(fixed, moving, VolumeRegistrationOptions(**options))  # type: ignore[arg-type]
    events = []
    while not isinstance(step := next_step(run), Finished):
        events.append(step)
    return step.outcome, events


def errors_px(outcome: VolumeOutcome, truth: Float) -> Float:
    """Of the body's voxels, against where they really lie (3, depth, height, width)."""
    field = None if outcome.field is None else outcome.field.displacements
    found = Warp(outcome.fixed_to_moving, field).apply(grid_points((SIDE,) * 3))
    missed: Float = np.linalg.norm(found - truth.reshape(3, -1).T, axis=1)
    return missed[resampled(BODY, truth).ravel() > 0.1]


@pytest.fixture(scope="module")
def bent() -> tuple[VolumeOutcome, list[RegistrationProgress]]:
    """A bent body registered to another modality of what it was."""
    return register(volume(resampled(BODY, PLACES)), volume(other_modality(BODY)), model=TransformModel.DEFORMABLE)


def test_bends_are_found_across_modalities(bent: tuple[VolumeOutcome, list[RegistrationProgress]]) -> None:
    """More than half of a bend is found, without folding, and no stage that was kept made agreement worse."""
    outcome, _ = bent
    start = np.linalg.norm(PLACES - np.indices((SIDE,) * 3)[::-1], axis=0).mean()
    errors = errors_px(outcome, PLACES)
    assert errors.mean() < 0.5 * start
    assert not {"FOLDING", "LARGE_DEFORMATION", "LOW_OVERLAP"} & set(outcome.flags)
    assert outcome.field is not None
    assert outcome.field.folding_fraction == 0
    assert 0 < outcome.field.jacobian_range[0] < 1 < outcome.field.jacobian_range[1]
    assert outcome.field.bending_energy > 0
    assert outcome.overlap_fraction > 0.9
    assert outcome.similarity_after > outcome.similarity_before
    assert all(stage.similarity_after >= stage.similarity_before for stage in outcome.stages if stage.accepted)


def test_the_inverse_leads_back(bent: tuple[VolumeOutcome, list[RegistrationProgress]]) -> None:
    """Points go through the map and its inverse to where they were, to within what the residual says and the grids."""
    outcome, _ = bent
    assert outcome.field is not None
    assert outcome.field.inverse_residual_mm < 0.01 * SPACING_MM
    start = np.random.default_rng(2).uniform(12, SIDE - 13, (50, 3))
    there = Warp(outcome.fixed_to_moving, outcome.field.displacements).apply(start)
    back = Warp(inverted(outcome.fixed_to_moving), outcome.field.inverse).apply(there)
    assert np.abs(back - start).max() < 0.05


def test_progress(bent: tuple[VolumeOutcome, list[RegistrationProgress]]) -> None:
    """Progress names every stage in order, never goes back, and ends with the examination."""
    _, events = bent
    names = list(dict.fromkeys(event.stage for event in events))
    assert names == ["prepare", "search", "affine", "deformation 1", "deformation 2", "examine"]
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_rigid_motion_in_millimetres() -> None:
    """With a turned frame the same voxels are another place: a rigid transform says so, in LPS, not in voxels."""
    frame = PatientFrame((30.0, -90.0, 0.0), ((0, 1, 0), (-1, 0, 0), (0, 0, 1)), FRAME.spacing_mm)
    voxels = BODY.copy()
    outcome, _ = register(
        volume(voxels),
        RegistrationVolume(voxels.transpose(0, 2, 1)[:, :, ::-1].copy(), frame),
        model=TransformModel.RIGID,
    )
    points = np.random.default_rng(1).uniform(10, SIDE - 11, (20, 3))
    # Moving x runs against what was y, moving y along what was x.
    wanted = np.stack([SIDE - 1 - points[:, 1], points[:, 0], points[:, 2]], axis=1)
    assert np.abs(Warp(outcome.fixed_to_moving).apply(points) - wanted).max() < 0.2
    assert outcome.field is None


def test_patient_coordinates_are_a_start() -> None:
    """In one frame of reference, volumes whose middles lie far apart in it are registered where they are."""
    frame = replace(FRAME, frame_of_reference_uid="1.2.3")
    cut = 14
    origin = (frame.origin_mm[0] + cut * SPACING_MM, *frame.origin_mm[1:])
    moving = RegistrationVolume(np.ascontiguousarray(BODY[:, :, cut:]), replace(frame, origin_mm=origin))
    outcome, _ = register(RegistrationVolume(BODY, frame), moving, model=TransformModel.RIGID)
    found = Warp(outcome.fixed_to_moving).apply([[25.0, 20.0, 20.0]])
    np.testing.assert_allclose(found, [[25.0 - cut, 20.0, 20.0]], atol=0.3)


def test_an_initial_transform_replaces_the_search() -> None:
    """From a start that is known there is no search, and what is found is an improvement on it."""
    shift = np.eye(4)
    shift[:3, 3] = (1.0, -1.0, 0.5)
    initial = Transform.from_matrix(shift, (SIDE,) * 3, (SIDE,) * 3)
    outcome, events = register(volume(BODY), volume(other_modality(BODY)), initial=initial)
    assert "search" not in {event.stage for event in events}
    assert np.abs(Warp(outcome.fixed_to_moving).apply([[20.0, 20.0, 20.0]]) - 20.0).max() < 0.2


def test_another_body_is_doubted() -> None:
    """Noise is flagged, though it was bent onto the body."""
    stranger = np.asarray(np.random.default_rng(9).normal(size=BODY.shape), np.float32)
    outcome, _ = register(volume(BODY), volume(stranger), model=TransformModel.DEFORMABLE)
    assert "NO_IMPROVEMENT" in outcome.flags


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"stiffness": 2.0}, InvalidField),
        ({"stiffness": float("nan"), "model": TransformModel.DEFORMABLE}, InvalidField),
        ({"initial": Transform.from_matrix(np.eye(4), (9, 9, 9), (SIDE,) * 3)}, InvalidField),
    ],
)
def test_options_that_cannot_be_followed(options: dict[str, object], error: type[Exception]) -> None:
    """Options out of range, of other volumes or without use are refused."""
    with pytest.raises(error):
        register(volume(BODY), volume(BODY), **options)


def test_constant_volumes() -> None:
    """A constant volume has nothing to align, and is refused by name."""
    with pytest.raises(NoContent) as refused:
        register(volume(BODY), volume(np.ones_like(BODY)))
    assert refused.value.field == "registration.moving"


class _Spoiling:
    """A stage that proposes something worse."""

    name, share = "spoil", 1.0

    def run(self, workspace: Workspace, start: Alignment, agreement: Agreement) -> Steps:
        """Shift by a tenth of the canvas."""
        yield Step(0.5, 0.0)
        matrix = start.matrix.clone()
        matrix[0, 3] += 0.2
        return Alignment(matrix)


def test_a_stage_that_makes_it_worse_is_dropped() -> None:
    """Accept or keep: the proposal is dropped and reported, and what was there before stays."""
    workspace = Workspace(volume(BODY), volume(BODY))
    finished(workspace.draw())
    start = Alignment.identity()
    alignment, reports = finished(module.follow([_Spoiling()], workspace, Agreement(workspace.at(64)), start))
    assert alignment is start
    assert [(report.stage, report.accepted) for report in reports] == [("spoil", False)]
    assert reports[0].similarity_after < reports[0].similarity_before
    assert torch.equal(alignment.matrix, torch.eye(4, dtype=torch.float64))
