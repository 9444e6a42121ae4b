"""Tests of rebuilding an image from its gradient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.gradients import forward_gradient, from_gradient

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(sizes, st.floats(0.01, 100), st.integers(0, 100))
def test_an_image_comes_back_from_its_own_gradient(size: tuple[int, int], fidelity: float, seed: int) -> None:
    """An image's own gradient gives the image, whatever its size and the fidelity."""
    image = np.random.default_rng(seed).random(size, np.float32)
    assert np.allclose(from_gradient(image, *forward_gradient(image), fidelity), image, atol=1e-4)


@pytest.mark.parametrize("fidelity", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("size", [(1, 7), (6, 1), (5, 8), (9, 6)])
def test_the_result_minimises_the_sum_of_squares(size: tuple[int, int], fidelity: float) -> None:
    """The cosine transforms give the least-squares solution that dense linear algebra gives."""
    random = np.random.default_rng(3)
    image, along_x, along_y = (random.standard_normal(size).astype(np.float32) for _ in range(3))
    height, width = size
    rows, wanted = [], []
    for y, x in np.ndindex(height, width):
        for step, gradient in (((0, 1), along_x), ((1, 0), along_y)):
            if y + step[0] < height and x + step[1] < width:
                difference = np.zeros(size)
                difference[y + step[0], x + step[1]], difference[y, x] = 1, -1
                rows.append(difference.ravel())
                wanted.append(gradient[y, x])
        kept = np.zeros(size)
        kept[y, x] = np.sqrt(fidelity)
        rows.append(kept.ravel())
        wanted.append(np.sqrt(fidelity) * image[y, x])
    expected = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0].reshape(size)
    assert np.allclose(from_gradient(image, along_x, along_y, fidelity), expected, atol=1e-4)


def test_a_small_fidelity_rebuilds_wider_structures() -> None:
    """With no gradient wanted the image fades towards its mean, wide structures only at a small fidelity."""
    wide = np.tile(0.5 + 0.5 * np.cos(np.arange(64) * np.pi / 32), (64, 1)).astype(np.float32)
    flat = np.zeros_like(wide)
    kept = [float(np.ptp(from_gradient(wide, flat, flat, fidelity))) for fidelity in (1.0, 0.001)]
    assert kept[0] > 0.95
    assert kept[1] < 0.2
