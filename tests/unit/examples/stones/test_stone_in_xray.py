"""Tests of a stone's shadow in the simulated X-ray and of the prompts that mark it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.stones.case import Case
from examples.stones.patient import abdomen
from examples.stones.stone_in_xray import BOX_JITTER_MM, StoneInXray


@pytest.fixture(scope="module")
def stone(shared_data: Path) -> StoneInXray:
    return StoneInXray.of(Case.drawn(abdomen(shared_data / "ct_kidney_stones"), 0))


def test_the_shadow_lies_at_the_true_place(stone: StoneInXray) -> None:
    """The outline's centroid is the stone's true place in the X-ray, to within 1.5 mm: a shadow is not weighted."""
    centroid = np.argwhere(stone.outline).mean(axis=0)[::-1]
    assert np.linalg.norm(centroid - stone.case.xray_px) * stone.case.patient.grid.spacing_mm < 1.5


def test_the_xray_without_the_stone_differs_about_the_shadow_alone(stone: StoneInXray) -> None:
    """What is most changed by the stone lies within its shadow."""
    with_it, without = stone.case.xray.pixels.astype(int), stone.without.pixels.astype(int)
    row, column = np.unravel_index((with_it - without).argmax(), with_it.shape)
    assert with_it[stone.outline].mean() > without[stone.outline].mean()
    assert stone.outline[row, column]


def test_prompts_are_near_the_shadow(stone: StoneInXray) -> None:
    """The click is on it, and each edge of the box is off by at most 3 mm."""
    assert stone.outline[round(stone.click.y), round(stone.click.x)]
    columns = np.flatnonzero(stone.outline.any(axis=0))
    pixel_mm = stone.case.patient.grid.spacing_mm
    assert abs(stone.box.x_min - (columns[0] - 0.5)) * pixel_mm <= BOX_JITTER_MM
    assert abs(stone.box.x_max - (columns[-1] + 0.5)) * pixel_mm <= BOX_JITTER_MM
