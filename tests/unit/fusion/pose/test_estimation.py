"""Poses from radiographs, of a body whose picture is computed by other code."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hilum.errors import InvalidField, NoContent
from hilum.geometry import Float
from hilum.pose import EstimatedPose, Radiograph
from services.fusion.pose import PoseEstimation, StartGrid
from tests.unit.fusion.pose.rooms import CENTRE, FROM_THE_FRONT, FROM_THE_RIGHT, hounsfield, pose, radiograph

TRUE = pose((5, -6, 4), (12, -9, -14))
VOXELS, FRAME = hounsfield()
# Starts enough for the test body, whose basin is wide.
GRID = StartGrid(turns_deg=(-6.0, 6.0))
POINTS = CENTRE + np.random.default_rng(0).uniform(-50, 50, (200, 3))


def _estimate(views: Sequence[Radiograph], initial: Float | None = None, **options: Any) -> EstimatedPose:
    work = PoseEstimation(GRID).run(VOXELS, FRAME, views, initial, **options)
    while True:
        try:
            next(work)
        except StopIteration as finished:
            found: EstimatedPose = finished.value
            return found


def _errors(found: Float, true: Float = TRUE) -> Float:
    change = found - true
    errors: Float = POINTS @ change[:3, :3].T + change[:3, 3]
    return errors


@pytest.fixture(scope="module")
def views() -> list[Radiograph]:
    return [radiograph(FROM_THE_FRONT, TRUE), radiograph(FROM_THE_RIGHT, TRUE)]


def test_two_views_give_the_pose(views: list[Radiograph]) -> None:
    """From two views at right angles the pose is found to half a voxel, without flags."""
    found = _estimate(views)
    assert np.linalg.norm(_errors(found.patient_to_room), axis=1).mean() < 1.5
    assert found.flags == ()
    assert found.unseen == ()
    assert min(view.similarity for view in found.views) > 0.6


@pytest.mark.parametrize("parallel", [True, False])
def test_one_view_keeps_its_depth_and_says_so(parallel: bool) -> None:
    """Along the viewing direction the initial value is kept and flagged; across it the pose is found."""
    found = _estimate([radiograph(FROM_THE_FRONT, TRUE, parallel=parallel)])
    assert "DEPTH_UNOBSERVED" in found.flags
    moved = found.patient_to_room @ np.append(CENTRE, 1)
    assert abs(moved[1] - CENTRE[1]) < 1.5
    across = _errors(found.patient_to_room)[:, [0, 2]]
    assert np.linalg.norm(across, axis=1).mean() < 2.0
    depth = next(unseen for unseen in found.unseen if abs(unseen.translation_mm[1]) > 0.9)
    assert (depth.standard_error_mm is None) == parallel


def test_a_depth_that_is_known_stays(views: list[Radiograph]) -> None:
    """From an initial pose with the right depth, one view gives the whole pose; the flag stays."""
    initial = pose((0, 0, 0), (0, -9, 0))
    found = _estimate(views[:1], initial)
    assert np.linalg.norm(_errors(found.patient_to_room), axis=1).mean() < 1.5
    assert "DEPTH_UNOBSERVED" in found.flags


def test_another_body_is_flagged(views: list[Radiograph]) -> None:
    """Radiographs that show something else end with a flag, not with a pose to be trusted."""
    noise = np.random.default_rng(7).normal(size=views[0].pixels.shape)
    strange = [replace(view, pixels=np.roll(np.asarray(view.pixels)[::-1, ::-1], 9, axis=1) + noise) for view in views]
    assert set(_estimate(strange).flags) & {"LOW_SIMILARITY", "NOT_CONVERGED", "STARTS_DISAGREE"}


def test_progress_and_stopping(views: list[Radiograph]) -> None:
    """Every step of every climb is told, in order of the work; closing the generator ends the work."""
    work = PoseEstimation(GRID).run(VOXELS, FRAME, views)
    steps = list(work)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(step.stage for step in steps))[:3] == ["search", "selection", "refinement"]
    stopped = PoseEstimation(GRID).run(VOXELS, FRAME, views)
    next(stopped)
    stopped.close()
    assert list(stopped) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hounsfield": VOXELS[0]}, "estimation.shape"),
        ({"hounsfield": VOXELS[:1]}, "estimation.shape"),
        ({"frame": replace(FRAME, spacing_mm=(3.0, 3.0, 0.0))}, "estimation.geometry"),
        ({"radiographs": []}, "estimation.radiographs"),
        ({"initial": np.diag([1.0, 1.0, -1.0, 1.0])}, "estimation.initial_pose"),
        ({"initial": np.diag([2.0, 2.0, 2.0, 1.0])}, "estimation.initial_pose"),
        ({"initial": np.full((4, 4), np.nan)}, "estimation.initial_pose"),
    ],
    ids=["slice", "thin", "flat voxels", "no radiograph", "mirrored", "scaled", "NaN"],
)
def test_impossible_problems_are_refused(views: list[Radiograph], change: dict[str, Any], field: str) -> None:
    """What cannot be projected or is not rigid is refused before any work, by name."""
    arguments: dict[str, Any] = {"hounsfield": VOXELS, "frame": FRAME, "radiographs": views} | change
    with pytest.raises(InvalidField) as caught:
        next(PoseEstimation().run(**arguments))
    assert caught.value.field == field


def test_air_is_refused(views: list[Radiograph]) -> None:
    """A volume of air, also one of padding, has no content."""
    with pytest.raises(NoContent):
        next(PoseEstimation().run(np.full((40, 40, 40), -1000, np.int16), FRAME, views))
    with pytest.raises(NoContent):
        next(PoseEstimation().run(np.full((40, 40, 40), 3071, np.int16), FRAME, views, padding_value=3071))
