"""Tests of what a registration of volumes delivers."""

from __future__ import annotations

import numpy as np
import torch

from services.fusion.volume_registration.delivery import VoxelGrid, corner_determinants


def test_a_grid_spreads_over_a_volume() -> None:
    """At most 64 points an axis, and the outermost as far from the volume's edge as half a step."""
    grid = VoxelGrid.over((300, 40, 128))
    assert grid.counts == (64, 40, 64)
    for along, count, step in zip(grid.along, (128, 40, 300), grid.steps.tolist(), strict=True):
        np.testing.assert_allclose(along[0] + 0.5, step / 2, atol=1e-9)
        np.testing.assert_allclose(count - 0.5 - along[-1], step / 2, atol=1e-9)
    corner = grid.matrix @ (63, 39, 63, 1)
    np.testing.assert_allclose(corner[:3], [along[-1] for along in grid.along])


def test_sampling_a_grid_returns_its_values() -> None:
    """At its own points a grid has its own values, and a linear field stays linear between them."""
    grid = VoxelGrid((10, 200, 12), (10, 64, 12))
    values = grid.points * torch.tensor([2.0, -1.0, 0.5])[:, None, None, None]
    assert torch.allclose(grid.sampled(values, grid.points), values, atol=1e-3)
    between = grid.points[:, 1:-1, 1:-1, 1:-1] + 0.3
    wanted = between * torch.tensor([2.0, -1.0, 0.5])[:, None, None, None]
    assert torch.allclose(grid.sampled(values, between), wanted, atol=1e-3)


def test_determinants_of_known_maps() -> None:
    """A stretch has its factors' product everywhere; a map that turns back on itself has negative ones."""
    grid = VoxelGrid((8, 8, 8), (8, 8, 8))
    stretched = grid.points * torch.tensor([2.0, 0.5, 3.0])[:, None, None, None]
    assert torch.allclose(corner_determinants(stretched, grid.steps), torch.tensor(3.0))
    folded = grid.points.clone()
    folded[0, :, :, 4] = 2.0
    assert float(corner_determinants(folded, grid.steps).min()) < 0
    coarse = VoxelGrid((16, 8, 8), (8, 8, 8))
    assert torch.allclose(corner_determinants(coarse.points, coarse.steps), torch.tensor(1.0), atol=1e-5)
