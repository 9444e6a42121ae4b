"""services.decoder.refinement."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.types import Box
from services.decoder.refinement import Outcome, Patch, otsu, refine_bright

SIZE = 64
BOX = Box(24.5, 24.5, 39.5, 39.5)


def disc(radius: float, centre: tuple[float, float] = (32, 32)) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.asarray((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2)


def stone(contrast: float = 900.0, noise: float = 20.0) -> Patch:
    """Returns a bright disc of radius 6 in the middle of soft tissue."""
    values = np.random.default_rng(3).normal(40, noise, (SIZE, SIZE)) + contrast * disc(6)
    return Patch(values.astype(np.float32), 0, 0)


def test_a_loose_mask_shrinks_to_the_stone() -> None:
    """On a clearly brighter target the mask becomes the target."""
    refined, outcome = refine_bright(disc(9), BOX, stone())
    assert outcome is Outcome.APPLIED
    assert refined is not None
    np.testing.assert_array_equal(refined, disc(6))


def test_it_grows_no_further_than_the_box_and_three_pixels() -> None:
    """Brightness that goes on outside the box is cut there."""
    values = np.full((SIZE, SIZE), 40, np.float32)
    values[28:36, :] = 900
    refined, outcome = refine_bright(disc(5), BOX, Patch(values, 0, 0))
    assert outcome is Outcome.APPLIED
    assert refined is not None
    columns = np.flatnonzero(refined.any(axis=0))
    assert (columns[0], columns[-1]) == (25 - 3, 39 + 3)


def test_a_patch_may_be_a_part_of_the_image() -> None:
    """A patch that covers the box and 3 px gives what the whole image gives."""
    whole = stone()
    part = Patch(whole.values[20:46, 18:48], 18, 20)
    expected, _ = refine_bright(disc(9), BOX, whole)
    refined, outcome = refine_bright(disc(9), BOX, part)
    assert outcome is Outcome.APPLIED
    assert refined is not None
    assert expected is not None
    np.testing.assert_array_equal(refined, expected)


@pytest.mark.parametrize(
    ("mask", "patch", "outcome"),
    [
        (np.zeros((SIZE, SIZE), np.bool_), stone(), Outcome.KEPT_EMPTY),
        (disc(9), Patch(stone().values[25:40, 25:40], 25, 25), Outcome.KEPT_NOT_COVERED),
        (disc(9), stone(contrast=10), Outcome.KEPT_LOW_CONTRAST),
        (disc(9), Patch(np.full((SIZE, SIZE), 7, np.int16), 0, 0), Outcome.KEPT_LOW_CONTRAST),
        (disc(2, (38, 26)), stone(), Outcome.KEPT_DISAGREES),
    ],
    ids=["empty", "not covered", "noise", "constant", "elsewhere"],
)
def test_the_models_mask_is_kept_with_a_reason(mask: NDArray[np.bool_], patch: Patch, outcome: Outcome) -> None:
    """Where the intensities do not show one clear target, the model's mask stays and the reason is given."""
    assert refine_bright(mask, BOX, patch) == (None, outcome)


def test_a_textured_organ_is_left_alone() -> None:
    """Bright pixels in many pieces are texture: the mask of an organ is not shredded."""
    values = np.full((SIZE, SIZE), 40, np.float32)
    values[::4, ::4] = 900
    assert refine_bright(disc(9), BOX, Patch(values, 0, 0)) == (None, Outcome.KEPT_DISAGREES)


def test_without_a_box_the_masks_own_bounds_count() -> None:
    """A mask without a box is refined within its bounds and 3 px."""
    refined, outcome = refine_bright(disc(8), None, stone())
    assert outcome is Outcome.APPLIED
    assert refined is not None
    np.testing.assert_array_equal(refined, disc(6))


def test_otsu_separates_two_modes() -> None:
    """The threshold lies between two modes, and nearly all variance lies between the classes."""
    values = np.concatenate([np.full(50, 10.0), np.full(30, 200.0)])
    threshold, separability = otsu(values)
    assert 10 < threshold < 200
    assert separability == pytest.approx(1.0, abs=0.01)
