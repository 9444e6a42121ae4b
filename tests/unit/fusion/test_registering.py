"""Tests of registrations in a pool of threads: what a caller that leaves stops, and what an answer holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest

from hilum.codec.fusion import MappedImage
from hilum.registration_options import LandmarkPair, RegistrationOptions, TransformModel
from hilum.serving.overload import ComputePool
from hilum.types import Image, Registration, RegistrationProgress, ViewRelation
from services.fusion.registering import Registering, RegistrationTask
from services.fusion.registration import Registration as RegistrationCore
from services.fusion.registration.agreement import Judge
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.stages import Step, Steps
from services.fusion.registration.workspace import Workspace
from services.fusion.targets import TargetSegmenter
from tests.unit.fusion.phantoms import bent, other_modality, tissue_phantom

PICTURE = tissue_phantom(128)
BENT = other_modality(bent(PICTURE)[0])
# Where nobody listens: no task here has prompts.
NOWHERE = "127.0.0.1:9"


def task(options: RegistrationOptions | None = None) -> RegistrationTask:
    """Two images, one bent against the other."""
    fixed, moving = (MappedImage(Image(pixels), None) for pixels in (PICTURE, BENT))
    return RegistrationTask(fixed, moving, ViewRelation.COMPARABLE, [], options or RegistrationOptions(), "", "default")


@dataclass
class Endless:
    """A stage that never comes to an end; counts its steps."""

    name: str = "endless"
    share: float = 1.0
    judged_at: int = 128
    steps: list[int] = field(default_factory=list)

    def run(self, workspace: Workspace, start: Alignment, judge: Judge) -> Steps:
        while True:
            self.steps.append(len(self.steps))
            # Progress that has not changed is not told again.
            yield Step(0.5, float(len(self.steps)))


@asynccontextmanager
async def registering(core: RegistrationCore) -> AsyncIterator[Registering]:
    """A registration service without a server; at its end no thread works any more."""
    pool = ComputePool(1, 4)
    async with grpc.aio.insecure_channel(NOWHERE) as channel:
        yield Registering(core, TargetSegmenter(channel, channel, timeout_s=1.0), pool, ())
        await pool.close()


async def test_a_caller_that_leaves_stops_the_work_within_a_step() -> None:
    """After the caller has left not one more step is begun, though the work would never end by itself."""
    endless = Endless()
    core = RegistrationCore(plan=lambda views, options, grid: [endless])
    async with registering(core) as service:
        async with aclosing(service.run(task())) as events:
            async for event in events:
                if isinstance(event, RegistrationProgress) and event.stage == "endless" and len(endless.steps) == 5:
                    break
        begun = len(endless.steps)
    assert begun == len(endless.steps) == 5


async def result(options: RegistrationOptions) -> tuple[list[RegistrationProgress], Registration]:
    """Progress and the answer."""
    progress: list[RegistrationProgress] = []
    async with registering(RegistrationCore()) as service:
        async for event in service.run(task(options)):
            if isinstance(event, Registration):
                return progress, event
            progress.append(event)
    raise AssertionError("no answer")


async def test_a_deformable_registration_reports_every_level() -> None:
    """Each level reports progress under its own name, and in the answer whether it was kept."""
    progress, answer = await result(RegistrationOptions(TransformModel.DEFORMABLE))
    levels = [f"deformation {number}" for number in (1, 2, 3, 4)]
    reported = list(dict.fromkeys(step.stage for step in progress))
    assert reported == ["prepare", "search", "affine", *levels, "examine"]
    assert [stage.stage for stage in answer.stages] == ["search", "affine", *levels]
    assert any(stage.accepted for stage in answer.stages if stage.stage in levels)


async def test_the_inverse_leads_back() -> None:
    """Pixels go there and back to where they were to within what the answer says, in moving pixels."""
    _, answer = await result(RegistrationOptions(TransformModel.DEFORMABLE))
    assert answer.deformation is not None
    assert answer.deformation.folding_fraction == 0
    y, x = np.mgrid[:128, :128].astype(float)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    origins = answer.inverse.apply(pixels)
    within = ((origins >= 0) & (origins <= 127)).all(axis=1)
    assert within.mean() > 0.5
    missed = np.linalg.norm(answer.transform.apply(origins) - pixels, axis=1)[within]
    assert 0 < missed.max() <= answer.inverse_residual_px + 1e-4
    assert answer.inverse_residual_px < 0.2


@pytest.mark.parametrize("stiffness", [1.0, 100.0])
async def test_stiffness_holds_back_bending(stiffness: float) -> None:
    """A hundred times the stiffness leaves less than a tenth of the bending energy."""
    _, free = await result(RegistrationOptions(TransformModel.DEFORMABLE))
    _, held = await result(RegistrationOptions(TransformModel.DEFORMABLE, stiffness=stiffness))
    assert free.deformation is not None
    energy = 0.0 if held.deformation is None else held.deformation.bending_energy
    if stiffness == 1.0:
        assert energy == free.deformation.bending_energy
    else:
        assert energy < 0.1 * free.deformation.bending_energy


async def test_landmarks_errors_are_reported_in_moving_pixels() -> None:
    """A landmark's distance is the one between where the transform takes it and its partner."""
    pair = LandmarkPair((64.0, 60.0), (67.0, 63.0))
    _, answer = await result(RegistrationOptions(landmarks=(pair,)))
    there = answer.transform.apply(pair.fixed_px)[0]
    (error,) = answer.landmark_errors_px
    assert error == pytest.approx(np.linalg.norm(there - pair.moving_px), abs=1e-6)
