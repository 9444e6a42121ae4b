"""Tests of whole registrations with known motions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hilum.errors import InvalidField, NoContent
from hilum.registration_options import RegistrationOptions, TransformModel
from hilum.transform import Transform
from hilum.types import RegistrationProgress, ViewRelation
from hilum.warp import Warp, inverted
from services.fusion.registration import Registration, RegistrationImage, RegistrationOutcome
from services.fusion.registration.agreement import Judge
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.stages import Step, Steps
from services.fusion.registration.workspace import Workspace
from services.fusion.resampling import resample
from tests.unit.fusion.phantoms import Picture, body_phantom, motion, moved, other_modality, registration_error

SIZE = (256, 256)
PICTURE = body_phantom()


Followed = tuple[RegistrationOutcome, list[RegistrationProgress]]


def register(
    fixed: RegistrationImage,
    moving: RegistrationImage,
    views: ViewRelation = ViewRelation.COMPARABLE,
    options: RegistrationOptions | None = None,
) -> Followed:
    return followed(Registration(), fixed, moving, views, options)


def followed(
    registration: Registration,
    fixed: RegistrationImage,
    moving: RegistrationImage,
    views: ViewRelation = ViewRelation.COMPARABLE,
    options: RegistrationOptions | None = None,
) -> Followed:
    run, events = registration.run(fixed, moving, views, options), []
    while True:
        try:
            events.append(next(run))
        except StopIteration as finished:
            outcome: RegistrationOutcome = finished.value
            return outcome, events


@pytest.mark.parametrize(
    ("rotation", "scale", "shift"),
    [(9.0, 0.92, (17.0, -12.0)), (-8.0, 1.09, (-19.0, 5.0)), (3.0, 1.0, (4.0, 20.0)), (0.0, 1.0, (0.0, 0.0))],
)
def test_finds_known_motions_across_modalities(rotation: float, scale: float, shift: tuple[float, float]) -> None:
    """Motions of some degrees, percent and pixels are found below a pixel, unflagged, every figure improved."""
    true = motion(SIZE, rotation, scale, shift)
    moving = other_modality(moved(PICTURE, true))
    outcome, _ = register(RegistrationImage(PICTURE), RegistrationImage(moving))
    error = registration_error(outcome.fixed_to_moving, true, PICTURE)
    assert error.mean() < 0.7
    assert error.max() < 2.0
    assert outcome.flags == ()
    assert outcome.after.similarity >= outcome.before.similarity
    assert outcome.after.match_loss <= outcome.before.match_loss + 0.005
    assert outcome.after.overlap_fraction > 0.95


def test_swapped_roles_give_the_inverse(known: Followed) -> None:
    """Registering the other way round finds the inverse transform."""
    back, _ = register(RegistrationImage(MOVING), RegistrationImage(PICTURE))
    error = registration_error(back.fixed_to_moving @ known[0].fixed_to_moving, np.eye(3), PICTURE)
    assert error.mean() < 1.0


def test_size_and_spacing_may_differ() -> None:
    """Anisotropic pixels of another size are registered in mm, and the matrix speaks of each image's own pixels."""
    true = motion(SIZE, -6.0, 1.05, (9.0, -11.0))
    # A quarter of the rows, half of the columns: spacing (2, 4) where the moving image has (1, 1).
    coarse = cv2.resize(PICTURE, (128, 64), interpolation=cv2.INTER_AREA)
    moving = other_modality(moved(PICTURE, true))
    outcome, _ = register(RegistrationImage(coarse, (2.0, 4.0)), RegistrationImage(moving, (1.0, 1.0)))
    fine_from_coarse = np.array([[2.0, 0.0, 0.5], [0.0, 4.0, 1.5], [0.0, 0.0, 1.0]])
    found = outcome.fixed_to_moving @ np.linalg.inv(fine_from_coarse)
    assert registration_error(found, true, PICTURE).mean() < 1.0


def test_images_without_spacing_share_their_field_of_view() -> None:
    """Without spacing a 512 and a 256 pixel image of one field are registered all the same."""
    true = motion(SIZE, 5.0, 1.0, (8.0, 8.0))
    large = cv2.resize(PICTURE, (512, 512), interpolation=cv2.INTER_LINEAR)
    outcome, _ = register(RegistrationImage(large), RegistrationImage(other_modality(moved(PICTURE, true))))
    small_from_large = np.array([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25], [0.0, 0.0, 1.0]])
    found = outcome.fixed_to_moving @ np.linalg.inv(small_from_large)
    assert registration_error(found, true, PICTURE).mean() < 1.0


def test_padding_around_the_moving_image_does_not_matter() -> None:
    """A bright frame that is marked as padding leaves the result as it was."""
    true = motion(SIZE, 6.0, 0.95, (12.0, -8.0))
    moving = other_modality(moved(PICTURE, true))
    valid = np.zeros(SIZE, bool)
    valid[20:-20, 20:-20] = True
    framed = np.where(valid, moving, 5.0)
    outcome, _ = register(RegistrationImage(PICTURE), RegistrationImage(framed, valid=valid))
    assert registration_error(outcome.fixed_to_moving, true, PICTURE).mean() < 0.7


TRUE = motion(SIZE, 8.0, 1.07, (15.0, -15.0))
MOVING = other_modality(moved(PICTURE, TRUE))
ORGAN = PICTURE > 0.5
MOVED_ORGAN = np.asarray(resample(ORGAN, Warp(inverted(TRUE)), SIZE).pixels, np.bool_)


@pytest.fixture(scope="module")
def known() -> Followed:
    """The registration of the phantom to its moved other modality."""
    return register(RegistrationImage(PICTURE), RegistrationImage(MOVING))


def with_targets(moved_organ: NDArray[np.bool_]) -> RegistrationOutcome:
    outcome, _ = register(
        RegistrationImage(PICTURE, targets=(ORGAN,)), RegistrationImage(MOVING, targets=(moved_organ,))
    )
    return outcome


def test_targets_that_correspond_agree_afterwards() -> None:
    """Targets' Dice is reported per target, rises with the right alignment and raises no flag."""
    outcome = with_targets(MOVED_ORGAN)
    assert outcome.before.target_dice[0] < 0.8
    assert outcome.after.target_dice[0] > 0.93
    assert outcome.flags == ()
    assert registration_error(outcome.fixed_to_moving, TRUE, PICTURE).mean() < 0.7


def test_a_wrong_target_is_outvoted_and_flagged() -> None:
    """An outline 70 px off does not spoil what the images show, and MASKS_DISAGREE says that it is off."""
    outcome = with_targets(np.roll(MOVED_ORGAN, -70, axis=1))
    assert registration_error(outcome.fixed_to_moving, TRUE, PICTURE).mean() < 1.0
    assert outcome.flags == ("MASKS_DISAGREE",)


def test_an_outline_that_misses_by_4_px_costs_nothing(known: Followed) -> None:
    """What a poor outline leads to is dropped where the images do not show that it is better: bit by bit the same."""
    outcome = with_targets(np.roll(MOVED_ORGAN, 4, axis=1))
    assert any(stage.stage == "search" for stage in outcome.stages[len(known[0].stages) :])
    assert np.array_equal(outcome.fixed_to_moving, known[0].fixed_to_moving)


@pytest.mark.parametrize("missing_px", [0, 5])
def test_targets_let_a_search_turn_farther(missing_px: int) -> None:
    """A turn of 40 degrees, which the images alone do not find, is found by a target, and flagged as large.

    The images have the last word on where exactly: an outline that misses by some pixels costs nothing.
    """
    true = motion(SIZE, -40.0, 1.0, (10.0, -8.0))
    moving = other_modality(moved(PICTURE, true))
    organ = np.asarray(resample(ORGAN, Warp(inverted(true)), SIZE).pixels, np.bool_)
    organ = np.roll(organ, missing_px, axis=1)
    alone, _ = register(RegistrationImage(PICTURE), RegistrationImage(moving))
    assert registration_error(alone.fixed_to_moving, true, PICTURE).mean() > 10
    outcome, _ = register(RegistrationImage(PICTURE, targets=(ORGAN,)), RegistrationImage(moving, targets=(organ,)))
    assert registration_error(outcome.fixed_to_moving, true, PICTURE).mean() < 0.7
    assert outcome.flags == ("LARGE_DEFORMATION",)


def test_an_organ_that_the_picture_cuts_does_not_disagree() -> None:
    """Where the moving image shows only a part of an organ, the rest of its fixed outline is no disagreement."""
    left = np.flatnonzero(ORGAN.any(axis=0))[0]
    organ = ORGAN & (np.arange(SIZE[1]) < left + 32)
    moved_organ = np.asarray(resample(organ, Warp(inverted(TRUE)), SIZE).pixels, np.bool_)
    valid = np.ones(SIZE, np.bool_)
    valid[:, : np.flatnonzero(moved_organ.any(axis=0))[0] + 30] = False
    outcome, _ = register(
        RegistrationImage(PICTURE, targets=(organ,)),
        RegistrationImage(MOVING, valid=valid, targets=(moved_organ & valid,)),
    )
    assert registration_error(outcome.fixed_to_moving, TRUE, PICTURE).mean() < 0.7
    assert outcome.after.target_dice[0] > 0.9
    assert "MASKS_DISAGREE" not in outcome.flags


def test_an_organ_that_is_not_shown_does_not_agree() -> None:
    """Under a start that brings no pixel of the moving image into view, a target's Dice is 0, not 1."""
    far = RegistrationOptions(initial=Transform.from_matrix(motion(SIZE, 0.0, 1.0, (900.0, 0.0)), SIZE, SIZE))
    outcome, _ = register(
        RegistrationImage(PICTURE, targets=(ORGAN,)), RegistrationImage(MOVING, targets=(MOVED_ORGAN,)), options=far
    )
    assert outcome.before.target_dice == (0.0,)


def test_slab_and_projection_are_flagged_and_ignore_targets() -> None:
    """Differing views keep angles, always carry VIEWS_DIFFER, and no target moves or flags them."""
    plain, _ = register(RegistrationImage(PICTURE), RegistrationImage(MOVING), ViewRelation.SLAB_AND_PROJECTION)
    wrong = np.roll(MOVED_ORGAN, -70, axis=1)
    steered, _ = register(
        RegistrationImage(PICTURE, targets=(ORGAN,)),
        RegistrationImage(MOVING, targets=(wrong,)),
        ViewRelation.SLAB_AND_PROJECTION,
    )
    assert plain.flags == steered.flags == ("VIEWS_DIFFER",)
    assert np.array_equal(plain.fixed_to_moving, steered.fixed_to_moving)
    linear = plain.fixed_to_moving[:2, :2]
    assert np.allclose(linear @ linear.T, np.linalg.det(linear) * np.eye(2))
    assert registration_error(plain.fixed_to_moving, TRUE, PICTURE).mean() < 1.0


def test_noise_is_not_an_image_of_the_body() -> None:
    """Against noise the result carries NO_IMPROVEMENT, whatever the search made of it."""
    noise = np.random.default_rng(0).random(SIZE, np.float32)
    outcome, _ = register(RegistrationImage(PICTURE), RegistrationImage(noise))
    assert "NO_IMPROVEMENT" in outcome.flags


@pytest.mark.parametrize("model", [TransformModel.AFFINE, TransformModel.DEFORMABLE])
def test_a_mirrored_body_is_flagged(model: TransformModel) -> None:
    """A body that is almost its own mirror image is told from it, though it stands out from its neighbours."""
    options = RegistrationOptions(model)
    right, _ = register(RegistrationImage(PICTURE), RegistrationImage(MOVING), options=options)
    mirrored = RegistrationImage(np.ascontiguousarray(MOVING[:, ::-1]))
    wrong, _ = register(RegistrationImage(PICTURE), mirrored, options=options)
    assert "NO_IMPROVEMENT" not in right.flags
    assert wrong.standing.distinctness > 0.15
    assert "NO_IMPROVEMENT" in wrong.flags


def test_low_overlap_is_flagged() -> None:
    """A moving image that covers less than half of the body is flagged."""
    valid = np.zeros(SIZE, bool)
    valid[:, :110] = True
    outcome, _ = register(RegistrationImage(PICTURE), RegistrationImage(other_modality(PICTURE), valid=valid))
    assert "LOW_OVERLAP" in outcome.flags
    assert outcome.after.overlap_fraction < 0.5


@dataclass(frozen=True)
class Proposing:
    """A stage that proposes one alignment, in one step."""

    matrix: torch.Tensor
    name: str = "proposing"
    share: float = 1.0
    judged_at: int = 128

    def run(self, workspace: Workspace, start: Alignment, judge: Judge) -> Steps:
        yield Step(1.0, 0.5)
        return Alignment(self.matrix @ start.matrix)


def scaling(x: float, y: float) -> torch.Tensor:
    return torch.diag(torch.tensor([x, y, 1.0], dtype=torch.float64))


def outcome_of(*stages: Proposing, moving: Picture = PICTURE) -> RegistrationOutcome:
    registration = Registration(plan=lambda views, options, grid: stages)
    return followed(registration, RegistrationImage(PICTURE), RegistrationImage(moving))[0]


def test_a_stage_that_makes_agreement_worse_is_dropped_and_reported() -> None:
    """A bad proposal is not kept, the next stage starts from what was there before, and the report says so."""
    outcome = outcome_of(Proposing(scaling(1.3, 1.3)), Proposing(scaling(1.0, 1.0), name="harmless"))
    assert np.allclose(outcome.fixed_to_moving, np.eye(3))
    bad, harmless = outcome.stages
    assert not bad.accepted
    assert bad.similarity_after < bad.similarity_before
    assert harmless.accepted
    assert harmless.similarity_before == bad.similarity_before


@pytest.mark.parametrize(
    "matrix",
    [
        motion((1, 1), rotation_deg=25.0),
        motion((1, 1), scale=1.4),
        motion((1, 1), scale=0.6),
        motion((1, 1), shift=(0.8, 0.0)),
    ],
)
def test_deformation_beyond_the_search_is_flagged(matrix: NDArray[np.float64]) -> None:
    """Rotation, scale or shift beyond what was searched raise LARGE_DEFORMATION."""
    # The moving image is made so that this very matrix, in working units, aligns it.
    pixel = np.array([[128.0, 0.0, 127.5], [0.0, 128.0, 127.5], [0.0, 0.0, 1.0]])
    moving = moved(PICTURE, pixel @ matrix @ np.linalg.inv(pixel))
    outcome = outcome_of(Proposing(torch.from_numpy(matrix)), moving=moving)
    assert outcome.stages[0].accepted
    assert "LARGE_DEFORMATION" in outcome.flags


def test_progress_runs_from_stage_to_stage_up_to_one(known: Followed) -> None:
    """Fractions never fall, end at 1, and name the stages in their order."""
    _, events = known
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0.0
    assert fractions[-1] == pytest.approx(1.0)
    assert list(dict.fromkeys(event.stage for event in events)) == ["prepare", "search", "affine", "examine"]
    assert len(events) > 25


def test_closing_the_generator_stops_the_work() -> None:
    """A registration can be stopped between any two steps, and then yields nothing more."""
    run = Registration().run(RegistrationImage(PICTURE), RegistrationImage(MOVING), ViewRelation.COMPARABLE)
    for _ in range(7):
        next(run)
    run.close()
    with pytest.raises(StopIteration):
        next(run)


def test_same_input_gives_the_same_result(known: Followed) -> None:
    """Registration is deterministic to the last bit, so that its transform can be named by its content."""
    again, _ = register(RegistrationImage(PICTURE), RegistrationImage(MOVING))
    assert np.array_equal(known[0].fixed_to_moving, again.fixed_to_moving)


def test_bad_input_is_refused_before_any_work() -> None:
    """Constant images, usable pixels too few to be seen and targets not in pairs are refused with their path."""
    good = RegistrationImage(PICTURE)
    with pytest.raises(NoContent) as constant:
        register(good, RegistrationImage(np.zeros(SIZE)))
    assert constant.value.field == "moving.pixels"
    scattered = np.random.default_rng(0).random(SIZE) < 0.01
    with pytest.raises(NoContent) as unseen:
        register(RegistrationImage(PICTURE, (1.0, 15.0), scattered), good)
    assert unseen.value.field == "fixed.pixels"
    with pytest.raises(InvalidField) as unpaired:
        register(RegistrationImage(PICTURE, targets=(ORGAN,)), good)
    assert unpaired.value.field == "targets"
