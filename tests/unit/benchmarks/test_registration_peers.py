"""What registrations are compared by, and the processes that peers run in."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.registrars.process import NotInstalled, RegistrarProcess
from benchmarks.registrars.registrar import Grey, Places, Registrar, pixel_places
from benchmarks.registration_peers import folding_share
from services.fusion.registration import RegistrationImage

SIZE = (12, 16)
IMAGE = RegistrationImage(np.zeros(SIZE, np.float32))


@dataclass(frozen=True)
class Shifting:
    """Moves everything; ends its process where asked to move by nothing."""

    x: float

    def __call__(self) -> Registrar:
        return self._register

    def _register(self, fixed: RegistrationImage, moving: RegistrationImage) -> Places:
        if self.x == 0:
            os._exit(1)
        return np.add(pixel_places(fixed.size), (self.x, 0.0))


@dataclass(frozen=True)
class Missing:
    """Its library cannot be imported."""

    def __call__(self) -> Registrar:
        raise ImportError("no such library")


def test_a_crash_ends_only_its_own_process() -> None:
    """A registrar that ends its process gives no answer and is counted; the next pair is answered again."""
    with RegistrarProcess(Shifting(1.0)) as process:
        assert process.register(Shifting(0.0), IMAGE, IMAGE) is None
        assert process.crashes == 1
        answer = process.register(Shifting(2.0), IMAGE, IMAGE)
    assert answer is not None
    assert np.array_equal(answer.places, np.add(pixel_places(SIZE), (2.0, 0.0)))


def test_a_missing_library_is_named() -> None:
    """A registrar whose library is not installed says so at once."""
    with pytest.raises(NotInstalled, match="no such library"):
        RegistrarProcess(Missing())


def test_folding_is_the_share_of_mirrored_pixels() -> None:
    """A map that mirrors folds everywhere, a shift nowhere."""
    places, body = pixel_places(SIZE), np.ones(SIZE, np.bool_)
    assert folding_share(places + 3.0, body) == 0
    assert folding_share(places[:, ::-1], body) == 1


def test_peers_get_percentiles_and_a_mask() -> None:
    """What is not exposed is 0 and masked; one absurd pixel does not dim the rest."""
    pixels = np.tile(np.linspace(0, 100, 160, dtype=np.float32), (100, 1))
    pixels[5, 5] = 1e6
    grey = Grey.of(RegistrationImage(pixels, valid=np.arange(160)[None, :] < np.full((100, 1), 150)))
    assert grey.mask is not None
    assert not grey.mask[:, 150:].any()
    assert not grey.pixels[:, 150:].any()
    assert grey.pixels[50, 148] > 0.95
