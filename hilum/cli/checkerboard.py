"""Checkerboards of two images, whose outlines run on across the tiles where the images agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.blocking_client import Client
from hilum.transform import Transform
from hilum.types import BoolMask, Fusion, Image, IntensityMapping

Grey = NDArray[np.uint8]

_TILES = 8


def before_and_after(
    client: Client,
    fixed: Image,
    moving: Image,
    transform: Transform,
    mappings: tuple[IntensityMapping | None, IntensityMapping | None],
) -> list[Grey]:
    """Returns two checkerboards of fixed and moving on the fixed grid: centres aligned, and registered.

    Args:
        client: Resamples the moving image.
        fixed: The fixed image.
        moving: The moving image.
        transform: Fixed to moving.
        mappings: Grey levels of fixed and moving; their own default where None.

    Raises:
        HilumError: What the service answered.
    """

    def board(chosen: Transform) -> Grey:
        fusion = client.fuse(
            fixed,
            moving,
            chosen,
            fixed_mapping=mappings[0],
            moving_mapping=mappings[1],
            accepted_flags=chosen.flags,
        )
        return checkerboard(fusion)

    return [board(centred(fixed, moving)), board(transform)]


def checkerboard(fusion: Fusion) -> Grey:
    """Returns the fixed image with every other tile from the moving image, where that has pixels."""
    return tiles(fusion.fixed, fusion.moving, fusion.coverage)


def tiles(fixed: Grey, moving: Grey, coverage: BoolMask) -> Grey:
    """Returns the fixed picture with every other tile from the moving picture, where that covers it."""
    height, width = fixed.shape
    side = max(1, -(-max(height, width) // _TILES))
    rows, columns = np.arange(height)[:, None] // side, np.arange(width)[None] // side
    return np.where(((rows + columns) % 2 == 1) & coverage, moving, fixed)


def centred(fixed: Image, moving: Image) -> Transform:
    """Returns where a registration starts: centres on centres, true to scale where both have spacing.

    Otherwise both are taken to show the same field of view.
    """
    spacings = fixed.geometry.plane_spacing_mm, moving.geometry.plane_spacing_mm
    in_fixed, in_moving = (np.array(spacing or (1.0, 1.0)) for spacing in spacings)
    fixed_size, moving_size = (np.array(image.size[::-1]) for image in (fixed, moving))
    known = None not in spacings
    scale = 1.0 if known else float((moving_size * in_moving).max() / (fixed_size * in_fixed).max())
    step = in_fixed * scale / in_moving
    shift = (moving_size - 1) / 2 - step * (fixed_size - 1) / 2
    matrix = np.array([[step[0], 0.0, shift[0]], [0.0, step[1], shift[1]], [0.0, 0.0, 1.0]])
    return Transform.from_matrix(
        matrix, fixed.size, moving.size, fixed_geometry=fixed.geometry, moving_geometry=moving.geometry
    )
