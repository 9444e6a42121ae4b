"""The registration of volumes that the fake fusion service answers: a shift."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codec.volume_registrations import FIELD, VolumeRegistrationRequest
from hilum.displacement_field import DisplacementField
from hilum.errors import NoContent
from hilum.geometry import Float
from hilum.image_grid import ImageGrid
from hilum.registration_options import TransformModel
from hilum.transform import Transform
from hilum.types import DeformationReport, StageReport
from hilum.volume_registration import VolumeRegistrationResult
from hilum.warp import Warp, inverted

ALGORITHM = "fake-volume-shift-1"
_LARGEST_SIDE = 64


def shifted_volume(
    request: VolumeRegistrationRequest, fixed: NDArray[Any], moving: NDArray[Any]
) -> VolumeRegistrationResult:
    """Returns the shift, in mm, that brings what is bright in one volume onto what is bright in the other.

    Raises:
        NoContent: A volume is constant.
    """
    grids = (
        ImageGrid(request.fixed.shape, request.fixed.geometry),
        ImageGrid(request.moving.shape, request.moving.geometry),
    )
    middles = [
        _middle_mm(voxels, incoming.padding_value, grid, f"{FIELD}.{name}")
        for voxels, incoming, grid, name in (
            (fixed, request.fixed, grids[0], "fixed"),
            (moving, request.moving, grids[1], "moving"),
        )
    ]
    shift = np.eye(4)
    shift[:3, 3] = middles[1] - middles[0]
    bends = request.options.model is TransformModel.DEFORMABLE
    matrix = np.linalg.inv(grids[1].patient_mm) @ shift @ grids[0].patient_mm
    there = Warp(matrix, _nothing(grids[0]) if bends else None)
    back = Warp(inverted(matrix), _nothing(grids[1]) if bends else None)
    return VolumeRegistrationResult(
        transform=Transform.from_warp(there, *grids, algorithm=ALGORITHM),
        inverse=Transform.from_warp(back, *reversed(grids), algorithm=ALGORITHM),
        stages=(StageReport("search", True, 0.0, 1.0),),
        similarity_before=0.0,
        similarity_after=1.0,
        overlap_fraction=1.0,
        distinctness=1.0,
        deformation=DeformationReport(0.0, 1.0, 1.0, 0.0) if bends else None,
    )


def _nothing(grid: ImageGrid) -> DisplacementField:
    """A field without displacements."""
    return DisplacementField(np.zeros((3, *(min(count, _LARGEST_SIDE) for count in grid.size))))


def _middle_mm(voxels: NDArray[Any], padding_value: float | None, grid: ImageGrid, field: str) -> Float:
    """(3,): the centroid, LPS, of what is brighter than the middle of the range."""
    usable = np.isfinite(voxels) if padding_value is None else voxels != padding_value
    seen = voxels[usable]
    if seen.size == 0 or seen.min() == seen.max():
        raise NoContent("all usable voxels have one value: nothing can be aligned", field=field)
    bright = usable & (voxels > (float(seen.min()) + float(seen.max())) / 2)
    x, y, z = np.argwhere(bright).mean(axis=0)[::-1]
    middle: Float = (grid.patient_mm @ (x, y, z, 1.0))[:3]
    return middle
