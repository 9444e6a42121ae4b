"""The count of bright blobs that neither source has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.fusion_blobs import new_blobs

Grey = NDArray[np.uint8]
FLAT = np.full((80, 90), 60, np.uint8)


def with_disc(image: Grey, place: tuple[int, int], radius: float, level: int) -> Grey:
    rows, columns = np.indices(image.shape)
    inside = np.hypot(rows - place[0], columns - place[1]) <= radius
    return np.where(inside, np.uint8(level), image)


def test_new_blobs_are_counted() -> None:
    """Two bright discs that neither source has are two blobs; one that a source has, next to them, is none."""
    known = with_disc(FLAT, (20, 20), 4, 150)
    fused = with_disc(with_disc(known, (40, 40), 4, 90), (60, 70), 6, 90)
    assert new_blobs(fused, known, FLAT) == 2
    assert new_blobs(fused, FLAT, known) == 2
    assert new_blobs(known, known, FLAT) == 0


@pytest.mark.parametrize(
    ("radius", "level", "count"),
    [(1, 200, 0), (4, 66, 0), (4, 50, 0), (30, 200, 0), (4, 90, 1)],
    ids=["3 px", "faint", "dark", "wide", "blob"],
)
def test_only_bright_blobs_of_more_than_3_px_count(radius: float, level: int, count: int) -> None:
    """Specks of 3 px, faint or dark spots, and what is wider than the surroundings are no bright blobs."""
    assert new_blobs(with_disc(FLAT, (40, 45), radius, level), FLAT, FLAT) == count


def test_a_blob_may_move_by_a_pixel() -> None:
    """What a source shows a pixel away is its blob."""
    source = with_disc(FLAT, (40, 45), 4, 150)
    assert new_blobs(with_disc(FLAT, (40, 46), 4, 150), source, FLAT) == 0
    assert new_blobs(with_disc(FLAT, (40, 52), 4, 150), source, FLAT) == 1


@given(st.integers(0, 2**32 - 1))
def test_the_maximum_of_two_images_has_none(seed: int) -> None:
    """By the laws of openings the pixel maximum stands out nowhere that neither source does."""
    coarse = np.random.default_rng(seed).integers(0, 256, (2, 12, 12), dtype=np.uint8)
    first, second = (np.kron(image, np.ones((6, 6), np.uint8)) for image in coarse)
    assert new_blobs(np.maximum(first, second), first, second) == 0
