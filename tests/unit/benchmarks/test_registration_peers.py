"""What registrations are compared by, and the processes that peers run in."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.deformable_pairs import MAPS
from benchmarks.registrars.ants import Ants
from benchmarks.registrars.elastix import Elastix
from benchmarks.registrars.process import NotInstalled, RegistrarProcess
from benchmarks.registrars.registrar import Grey, Load, Places, Registrar, pixel_places
from benchmarks.registrars.simpleitk import SimpleItk
from benchmarks.registration_peers import GRID, TUNED, folding_share, interval_of_mean, stride
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


@pytest.mark.parametrize("load", [Ants(iterations=(40, 20, 0)), Elastix(iterations=50), SimpleItk(mesh=4)], ids=repr)
def test_peers_are_asked_the_right_way_round(load: Load) -> None:
    """What each peer finds of a known shift along x and y has its axes and its direction right."""
    y, x = np.mgrid[:64, :64]
    blobs = ((20, 30, 9, 1.0), (40, 22, 6, 0.7), (38, 44, 7, 0.5))
    fixed, moving = (
        sum(h * np.exp(-((x - cx - dx) ** 2 + (y - cy - dy) ** 2) / w**2) for cx, cy, w, h in blobs)
        for dx, dy in ((0, 0), (4, -3))
    )
    images = RegistrationImage(fixed.astype(np.float32)), RegistrationImage(moving.astype(np.float32))
    try:
        with RegistrarProcess(load) as process:
            answer = process.register(load, *images)
    except NotInstalled as missing:
        pytest.skip(f"{missing}: pip install -e '.[bench]'")
    assert answer is not None
    shift = (answer.places - pixel_places((64, 64)))[16:48, 16:48].mean(axis=(0, 1))
    assert np.allclose(shift, (4, -3), atol=0.7)


def test_peers_are_tuned_alike() -> None:
    """As many settings are tried for each peer, and what is reported is one of those that were tried."""
    assert len({len(settings) for settings in GRID.values()}) == 1
    assert all(TUNED[kind][peer] in GRID[peer] for kind in TUNED for peer in GRID)


def test_pairs_are_spread_over_all_maps() -> None:
    """Whatever the number of pairs, they do not all show one intensity map."""
    for count in range(2, 40):
        assert len({place * stride(40, count) % len(MAPS) for place in range(count)}) == min(count, len(MAPS))


def test_the_interval_of_a_mean_holds_it() -> None:
    """The interval holds the mean, is about four standard errors wide, and is the same every time."""
    values = np.random.default_rng(3).normal(1.0, 2.0, 100)
    low, high = interval_of_mean(values)
    assert low < values.mean() < high
    assert 0.7 < (high - low) < 0.9
    assert interval_of_mean(values) == (low, high)
