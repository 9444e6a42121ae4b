"""Tests of the yardstick that judges alignments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from services.fusion.registration.agreement import Agreement, lead
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.workspace import Workspace
from tests.unit.fusion.phantoms import Picture, body_phantom, other_modality


def agreement(fixed: Picture, moving: Picture, *, target_shift: int | None = None) -> Agreement:
    first, second = RegistrationImage(fixed), RegistrationImage(moving)
    if target_shift is not None:
        target = fixed > 0.5
        first = replace(first, targets=(target,))
        second = replace(second, targets=(np.roll(target, target_shift, axis=1),))
    return Agreement(Workspace(first, second, 128, 128).at(128), with_targets=target_shift is not None)


def shifted(x: float) -> Alignment:
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 2] = x
    return Alignment(matrix)


def test_agreement_falls_with_misalignment() -> None:
    """An image agrees with itself by 1, less so the farther it slips, and both opinions say so."""
    picture = body_phantom()
    judge = agreement(picture, picture)
    values = [judge.of(shifted(x)) for x in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(1.0, abs=1e-3)
    assert values[0] > values[1] > values[2]
    assert judge.information(shifted(0.0)) > judge.information(shifted(0.05)) > judge.information(shifted(0.2))


def test_nothing_agrees_without_overlap() -> None:
    """An alignment that hardly overlaps agrees by zero: slivers cannot win."""
    picture = body_phantom()
    assert agreement(picture, picture).of(shifted(1.9)) == 0.0
    assert agreement(picture, picture).of(shifted(3.0)) == 0.0


def test_targets_add_their_dice() -> None:
    """Outlines that agree add .3; outlines that do not meet add nothing."""
    picture = body_phantom()
    plain = agreement(picture, picture).of(shifted(0.0))
    assert agreement(picture, picture, target_shift=0).of(shifted(0.0)) == pytest.approx(plain + 0.3)
    assert agreement(picture, picture, target_shift=128).of(shifted(0.0)) == pytest.approx(plain, abs=0.05)


def test_one_body_stands_out_and_others_do_not() -> None:
    """A body in another modality is distinct where aligned; noise and an upside-down body are not."""
    picture = body_phantom()
    noise = np.random.default_rng(0).random(picture.shape, np.float32)
    identity = Alignment.identity()
    assert agreement(picture, other_modality(picture)).distinctness(identity) > 0.15
    assert agreement(picture, noise).distinctness(identity) < 0.02
    assert agreement(picture, np.ascontiguousarray(picture[::-1])).distinctness(identity) < 0.08


def test_a_lead_is_relative_and_noise_has_none() -> None:
    """Twice the information leads by the same at any contrast; of next to nothing, twice is hardly more."""
    assert lead(2.0, 1.0) == pytest.approx(lead(1.0, 0.5), abs=0.01) == pytest.approx(np.log(2), abs=0.02)
    assert lead(1.0, 2.0) == -lead(2.0, 1.0)
    assert 0 < lead(0.001, 0.0005) < 0.1
