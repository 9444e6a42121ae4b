"""Tests of real stones as slices show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.stones.real_stone import RealStone, real_stones


@pytest.fixture(scope="module")
def stones(shared_data: Path) -> list[RealStone]:
    return list(real_stones(shared_data / "ct_kidney_stones"))


def test_each_stone_is_shown_in_both_planes(stones: list[RealStone]) -> None:
    """Eight stones, the largest first, in the axial and in the coronal plane."""
    assert [stone.plane for stone in stones] == ["axial", "coronal"] * 8
    sizes = [stone.voxels for stone in stones]
    assert sizes == sorted(sizes, reverse=True)


def test_labels_lie_on_what_is_bright(stones: list[RealStone]) -> None:
    """The outline holds whole labelled voxels, and the slice is brighter there than the threshold."""
    for stone in stones:
        area_mm2 = stone.outline.sum() * stone.pixel_mm**2
        assert area_mm2 >= 9 * 0.9
        assert stone.image.pixels[stone.outline].max() > 200


def test_prompts_lie_about_the_stone(stones: list[RealStone]) -> None:
    """A click is on the stone, a box has the stone's middle in it."""
    for stone in stones:
        prompts = stone.prompts()
        (point,), box = prompts["click"].points, prompts["box"].box
        y, x = np.argwhere(stone.outline).mean(axis=0)
        assert stone.outline[round(point.y), round(point.x)]
        assert box is not None
        assert box.x_min < x < box.x_max
        assert box.y_min < y < box.y_max
