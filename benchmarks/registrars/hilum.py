"""Hilum's own registration, from image content alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from benchmarks.generated import outcome_of
from benchmarks.registrars.registrar import Places, Registrar, pixel_places
from hilum.registration_options import RegistrationOptions, TransformModel
from hilum.types import ViewRelation
from hilum.warp import Warp
from services.fusion.registration import Registration, RegistrationImage, RegistrationOutcome


@dataclass(frozen=True)
class Hilum:
    """Settings are the service's; only the model is chosen."""

    model: TransformModel = TransformModel.DEFORMABLE

    def __call__(self) -> Registrar:
        """One thread; the process that it runs in tells BLAS."""
        cv2.setNumThreads(1)
        return self._register

    def _register(self, fixed: RegistrationImage, moving: RegistrationImage) -> Places:
        run = Registration().run(fixed, moving, ViewRelation.COMPARABLE, RegistrationOptions(model=self.model))
        return places_of(outcome_of(run), fixed.size)


def places_of(outcome: RegistrationOutcome, size: tuple[int, int]) -> Places:
    """Where each fixed pixel lies on the moving image, (height, width, 2)."""
    field = None if outcome.field is None else outcome.field.displacements
    return Warp(outcome.fixed_to_moving, field).apply(pixel_places(size).reshape(-1, 2)).reshape(*size, 2)
