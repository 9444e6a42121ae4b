"""Slabs and slices of a volume inherit the transform that was found on its projection.

A CT meets a radiograph as a projection, `client.project(volume, ...)`, since outlines in a slab are not those in a
projection. What is found there holds, in the plane, for everything that the rays went through: parallel rays have no
depth. So a slab or slice that is parallel to the projection's plane takes the same transform, through patient
coordinates: it may be cut, flipped or turned in its plane, and have another spacing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import Float
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.warp import Warp, inverted

_PARALLEL = 1e-3
_TOLERANCE_MM = 1e-3


def inherited(transform: Transform, slab: ImageGrid, *, side: Literal["fixed", "moving"] = "fixed") -> Transform:
    """Returns the transform of a slab in place of the projection that a registration was made with.

    Nothing is known of depth: a radiograph shows no slab by itself, and the flags stay.

    Args:
        transform: Between a projection with a place in the patient and another image.
        slab: The slab or slice: size and geometry, as of `slice_volume` or of `client.project` with a slab.
        side: Which of the two images the projection is.

    Returns:
        From the slab to the moving image, or from the fixed image to the slab.

    Raises:
        InvalidField: The transform is between volumes, or the slab is not parallel to the projection's plane, lies
            outside what was projected, or names another frame of reference.
        FrameNotSupported: Projection or slab have no place in the patient.
    """
    if transform.fixed_slices:
        raise InvalidField("is between volumes, and one of a projection is needed here", field="transform")
    projection = transform.fixed_grid if side == "fixed" else transform.moving_grid
    into = _slab_to_projection(projection, slab)
    if side == "fixed":
        warp, fixed, moving = Warp(into).then(transform.warp, slab.size), slab, transform.moving_grid
    else:
        back = Warp(inverted(into))
        warp, fixed, moving = transform.warp.then(back, transform.fixed_grid.size), transform.fixed_grid, slab
    return Transform.from_warp(warp, fixed, moving, flags=transform.flags, algorithm=transform.algorithm)


def _slab_to_projection(projection: ImageGrid, slab: ImageGrid) -> Float:
    """(3, 3): pixels of the slab to pixels of the projection, along the rays."""
    along, own = projection.patient_frame, slab.patient_frame
    if along is None or own is None or len(slab.size) != 2:
        raise FrameNotSupported("projection and slab must be images in PATIENT_LPS", field="slab")
    if along.frame_of_reference_uid != own.frame_of_reference_uid:
        raise InvalidField("lies in another frame of reference than the projection", field="slab")
    # Slab pixels, and millimetres along its normal, in the projection's pixels and along its rays.
    across = np.linalg.inv(projection.patient_mm) @ slab.patient_mm
    if np.abs(across[2, :2]).max() > _PARALLEL * min(own.spacing_mm[:2]):
        raise InvalidField("is not parallel to the projection's plane", field="slab")
    if abs(across[2, 3]) > projection.reach_mm + _TOLERANCE_MM:
        raise InvalidField(
            f"lies {abs(across[2, 3]):.1f} mm from the middle of what was projected, which reaches to "
            f"{projection.reach_mm:.1f} mm: project the part that holds it",
            field="slab",
        )
    matrix: Float = across[np.ix_([0, 1, 3], [0, 1, 3])]
    return matrix
