"""Tests of the coarse search for a start."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.search import SearchGrid, search
from tests.unit.fusion.volume_registration.bodies import body, other_modality, pair

SIDE = 32


def test_finds_a_large_shift() -> None:
    """A shift of a fifth of the canvas along every axis is found across modalities to a voxel."""
    voxels, shift = body(SIDE), (6, -5, 4)
    moving = np.asarray(ndimage.shift(voxels, shift[::-1], order=1, mode="nearest"), np.float32)
    candidates = list(search(pair(voxels, other_modality(moving)), SearchGrid()))
    best = max(candidates, key=lambda candidate: candidate.similarity)
    found = best.alignment.apply(torch.zeros(1, 3, dtype=torch.float64))[0] * SIDE / 2
    assert np.abs(found.numpy() - shift).max() <= 1.0
    assert len(candidates) == len(SearchGrid().turns_deg)


def test_shifts_stay_within_the_grid() -> None:
    """No candidate is shifted farther than the grid allows, however alike the volumes are there."""
    voxels = body(SIDE)
    moving = np.roll(voxels, 8, axis=2)
    for candidate in search(pair(voxels, moving), SearchGrid(max_shift=0.2)):
        turned_back = torch.linalg.solve(candidate.alignment.matrix[:3, :3], candidate.alignment.matrix[:3, 3])
        assert float(turned_back.abs().max()) <= 0.2 + 1e-9
    assert isinstance(candidate.alignment, Alignment)
