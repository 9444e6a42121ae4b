"""Volumes with known content for the tests of volume registration."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hilum.geometry import Float, PatientFrame
from services.fusion.volume_registration.canvas import Canvas, RegistrationVolume
from services.fusion.volume_registration.workspace import CanvasPair

Voxels = NDArray[np.float32]
SIDE, SPACING_MM = 40, 4.0
FRAME = PatientFrame((-80.0, -70.0, 10.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (SPACING_MM,) * 3)


def body(side: int = SIDE, seed: int = 0) -> Voxels:
    """A lumpy body in air, (side, side, side), about in [0, 1]."""
    z, y, x = np.indices((side,) * 3) / (side - 1) * 2 - 1
    inside = (x / 0.8) ** 2 + (y / 0.62) ** 2 + (z / 0.9) ** 2 < 1
    noise = np.random.default_rng(seed).normal(size=(side,) * 3)
    lumps = ndimage.gaussian_filter(noise, side / 14)
    return np.asarray(inside * (0.5 + 0.12 * lumps / lumps.std()), np.float32)


def other_modality(voxels: Voxels, seed: int = 1) -> Voxels:
    """The same content seen otherwise: a map that turns round, and noise."""
    shown = np.interp(voxels, (0.0, 0.25, 0.45, 0.6, 1.0), (0.05, 0.9, 0.3, 0.75, 0.1))
    return np.asarray(shown + np.random.default_rng(seed).normal(0, 0.02, voxels.shape), np.float32)


def resampled(voxels: Voxels, places: Float) -> Voxels:
    """Values at places (3, depth, height, width), (x, y, slice) in voxels."""
    return np.asarray(ndimage.map_coordinates(voxels, places[::-1], order=1, mode="nearest"), np.float32)


def bent_places(side: int = SIDE, peak_px: float = 1.6) -> Float:
    """(3, side, side, side): the (x, y, slice) that each voxel is moved to by a smooth bend."""
    z, y, x = np.indices((side,) * 3).astype(np.float64)
    wave = np.pi / side
    bend = [np.sin(2 * wave * y) * np.cos(wave * z), np.sin(2 * wave * z + 1), np.cos(2 * wave * x) * np.sin(wave * y)]
    return np.stack([x, y, z]) + peak_px * np.stack(bend)


def volume(voxels: Voxels) -> RegistrationVolume:
    """A volume in the tests' frame."""
    return RegistrationVolume(voxels, FRAME)


def canvas(voxels: Voxels) -> Canvas:
    """A canvas of these very voxels."""
    return Canvas(torch.from_numpy(voxels), torch.ones(voxels.shape))


def pair(fixed: Voxels, moving: Voxels) -> CanvasPair:
    """Canvases of these very voxels."""
    return CanvasPair(canvas(fixed), canvas(moving))
