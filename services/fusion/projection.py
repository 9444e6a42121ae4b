"""Parallel projections of a volume: what a CT looks like when it is flattened along one of its axes.

A planar radiograph shows sums along rays, a slice shows a plane. The two share few outlines, so a CT meets a
radiograph as a projection of its volume. The rays here are parallel: magnification and depth are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidField
from hilum.types import ProjectionAxis, ProjectionMethod

DEFAULT_ENERGY_KEV = 60.0
"""Effective energy of a diagnostic beam behind a patient."""

# Mass attenuation of liquid water in cm²/g at these photon energies in keV (NIST XCOM, coherent scatter included).
_WATER_ENERGIES_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
_WATER_ATTENUATION_CM2_PER_G = (0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505)

_ARRAY_AXIS = {ProjectionAxis.DEPTH: 0, ProjectionAxis.HEIGHT: 1, ProjectionAxis.WIDTH: 2}


@dataclass(frozen=True)
class Projection:
    """A projected image.

    Attributes:
        pixels: float32 (height, width), the two remaining array axes in their order. Rays without one usable
            sample hold the smallest value of the rays that have some (zero if none has).
        spacing_mm: pixel spacing (x, y) in mm, None for a volume without spacing.
        valid: bool (height, width), true where at least one sample along the ray was usable.
    """

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, float] | None
    valid: NDArray[np.bool_]


def water_attenuation_per_mm(energy_kev: float) -> float:
    """Linear attenuation of water in 1/mm at a photon energy, log-log interpolated from NIST's table.

    Raises:
        InvalidField: the energy lies outside 20 to 150 keV.
    """
    if not _WATER_ENERGIES_KEV[0] <= energy_kev <= _WATER_ENERGIES_KEV[-1]:
        raise InvalidField(f"{energy_kev} is outside 20 to 150 keV", field="effective_energy_kev")
    log_attenuation = np.interp(np.log(energy_kev), np.log(_WATER_ENERGIES_KEV), np.log(_WATER_ATTENUATION_CM2_PER_G))
    return float(np.exp(log_attenuation)) / 10.0


def project_volume(
    volume: NDArray[Any],
    spacing_mm: tuple[float, float, float] | None,
    axis: ProjectionAxis,
    method: ProjectionMethod,
    *,
    slab: tuple[int, int] | None = None,
    padding_value: float | None = None,
    effective_energy_kev: float = DEFAULT_ENERGY_KEV,
) -> Projection:
    """Project a volume along one of its array axes with parallel rays.

    MEAN and MAXIMUM keep the volume's unit. ATTENUATION is the line integral of linear attenuation, -log of the
    fraction of a narrow monoenergetic beam that passes: dimensionless, from Hounsfield units.

    Args:
        volume: (depth, height, width), any real dtype.
        spacing_mm: voxel spacing (x, y, z) in mm; needed for ATTENUATION.
        axis: the axis that rays run along.
        method: how rays become pixels.
        slab: half-open range of indices along the axis; the whole axis when absent.
        padding_value: samples equal to it, like NaN and infinities, are left out (MEAN, MAXIMUM) or air
            (ATTENUATION).
        effective_energy_kev: of the beam, for ATTENUATION.

    Raises:
        InvalidField: naming the argument that cannot be used.
    """
    along = _ARRAY_AXIS[axis]
    first, last = _checked_slab(volume, spacing_mm, along, slab)
    samples = volume[(slice(None),) * along + (slice(first, last),)]
    scale = 0.0
    if method is ProjectionMethod.ATTENUATION:
        if spacing_mm is None:
            raise InvalidField("is needed for ATTENUATION, which integrates over mm", field="spacing_mm")
        scale = water_attenuation_per_mm(effective_energy_kev) * spacing_mm[2 - along]
    height, width = (n for i, n in enumerate(volume.shape) if i != along)
    pixels = np.zeros((height, width), np.float32)
    valid = np.zeros((height, width), np.bool_)
    # One row of the result at a time keeps memory small and reads the volume in its own order.
    for row in range(height):
        rays = samples[:, row] if along == 0 else samples[row] if along == 1 else samples[row].T
        usable = np.isfinite(rays)
        if padding_value is not None:
            usable &= rays != padding_value
        valid[row] = usable.any(axis=0)
        pixels[row] = _project_rays(rays, usable, method, scale)
    pixels[~valid] = pixels[valid].min() if valid.any() else 0.0
    if spacing_mm is None:
        return Projection(pixels, None, valid)
    x, y = (spacing_mm[2 - i] for i in (2, 1, 0) if i != along)
    return Projection(pixels, (x, y), valid)


def _project_rays(
    rays: NDArray[Any], usable: NDArray[np.bool_], method: ProjectionMethod, scale: float
) -> NDArray[np.floating[Any]]:
    """One value for each column of `rays`, (samples, width)."""
    match method:
        case ProjectionMethod.MEAN:
            total = np.where(usable, rays, 0).sum(axis=0, dtype=np.float64)
            return np.asarray(total / np.maximum(usable.sum(axis=0), 1))
        case ProjectionMethod.MAXIMUM:
            return np.asarray(np.where(usable, rays, -np.inf).max(axis=0))
        case ProjectionMethod.ATTENUATION:
            relative = np.maximum(1.0 + np.where(usable, rays, -1000.0) / 1000.0, 0.0)
            return np.asarray(scale * relative.sum(axis=0, dtype=np.float64))


def _checked_slab(
    volume: NDArray[Any],
    spacing_mm: tuple[float, float, float] | None,
    along: int,
    slab: tuple[int, int] | None,
) -> tuple[int, int]:
    if volume.ndim != 3 or 0 in volume.shape:
        raise InvalidField(f"needs shape (depth, height, width), has {volume.shape}", field="volume")
    if spacing_mm is not None and not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise InvalidField(f"needs three positive numbers, has {spacing_mm}", field="spacing_mm")
    count = volume.shape[along]
    first, last = slab or (0, count)
    if not 0 <= first < last <= count:
        raise InvalidField(f"[{first}, {last}) is not a range within the {count} indices", field="slab")
    return first, last
