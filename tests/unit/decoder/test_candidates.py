"""Masks that a search keeps: tight, and without small regions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.region import Region
from services.decoder.candidates import Candidate, tight, without_holes, without_islands
from services.decoder.postprocess import MaskWindow

SIZE = (60, 80)


def candidate(image: NDArray[np.bool_]) -> Candidate:
    """Returns a candidate with this mask of the whole image."""
    runs, bounds = tight(MaskWindow(image, 0, 0, int(image.sum()), 0.9, any_logit_above=True))
    return Candidate(runs, bounds, int(image.sum()), 0.8, 0.9, (1.0, 2.0), Region(0, 0, SIZE[1], SIZE[0]))


def image_of(found: Candidate) -> NDArray[np.bool_]:
    """Returns the whole image's mask."""
    left, top, right, bottom = found.bounds
    image = np.zeros(SIZE, np.bool_)
    image[top : bottom + 1, left : right + 1] = found.mask()
    return image


def disc(centre: tuple[int, int], radius: float) -> NDArray[np.bool_]:
    """Returns a filled disc around (row, column)."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    inside: NDArray[np.bool_] = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return inside


def test_windows_are_tight() -> None:
    """A candidate keeps the pixels between its first and last row and column, and gives the same mask back."""
    image = disc((20, 30), 9)
    found = candidate(image)
    assert found.bounds == (21, 11, 39, 29)
    assert found.mask().shape == (19, 19)
    assert np.array_equal(image_of(found), image)


def test_an_empty_mask_is_no_candidate() -> None:
    """A mask without foreground has no bounds and is refused."""
    with pytest.raises(ValueError, match="empty"):
        tight(MaskWindow(np.zeros(SIZE, np.bool_), 0, 0, 0, 1.0, any_logit_above=False))


def test_small_regions_go() -> None:
    """Holes and islands below the size are removed, larger ones stay; bounds and area follow, scores stay."""
    body = disc((30, 40), 18)
    image = body & ~disc((25, 35), 1) & ~disc((35, 45), 5)
    image[0, 0] = True
    found = candidate(image).without_small_regions(10, SIZE)
    assert np.array_equal(image_of(found), body & ~disc((35, 45), 5))
    assert found.area == image_of(found).sum()
    assert found.bounds == (22, 12, 58, 48)
    assert (found.iou_prediction, found.stability_score) == (0.8, 0.9)


def test_a_mask_without_small_regions_is_itself() -> None:
    """What has nothing to remove comes back unchanged, as the same object."""
    found = candidate(disc((30, 40), 10))
    assert found.without_small_regions(20, SIZE) is found


def test_of_islands_that_are_all_small_the_largest_stays() -> None:
    """A mask never becomes empty."""
    mask = np.zeros(SIZE, np.bool_)
    mask[3, 3:5] = mask[10, 10:14] = True
    kept = without_islands(mask, 100)
    assert kept.sum() == 4
    assert kept[10, 10:14].all()


def test_diagonal_neighbours_touch() -> None:
    """Regions touch over corners, too."""
    mask = np.eye(6, dtype=np.bool_)
    assert np.array_equal(without_islands(mask, 6), mask)
    hole = ~np.eye(6, dtype=np.bool_)
    assert np.array_equal(without_holes(hole, 6), hole)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("area", [1, 7, 60, 5000])
def test_a_window_shows_enough_of_the_background(seed: int, area: int) -> None:
    """Cleaning a window is cleaning the whole image, wherever the background around the mask ends."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 8)) < 0.6
    image = np.kron(coarse, np.ones((10, 10), np.bool_)) & (rng.random(SIZE) < 0.97)
    expected = without_islands(without_holes(image, area), area)
    assert np.array_equal(image_of(candidate(image).without_small_regions(area, SIZE)), expected)
