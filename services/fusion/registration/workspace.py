"""Two images in one working space, at every resolution that a registration uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import (
    Canvas,
    RegistrationImage,
    canvas_extents,
    draw,
    working_from_pixel,
)


@dataclass(frozen=True, eq=False)
class CanvasPair:
    """Both images at one resolution."""

    fixed: Canvas
    moving: Canvas

    @property
    def size(self) -> int:
        """Side of the canvases in pixels."""
        return int(self.fixed.pixels.shape[0])

    @property
    def has_targets(self) -> bool:
        """Whether there are structures that must agree."""
        return len(self.fixed.distances) > 0

    def halved(self) -> CanvasPair:
        """Both at half the resolution."""
        return CanvasPair(self.fixed.halved(), self.moving.halved())


class Workspace:
    """The canvases of a fixed and a moving image, halved from a finest size down to a coarsest.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        finest: side of the finest canvas in pixels, the coarsest doubled some times.
        coarsest: side of the coarsest.
    """

    def __init__(self, fixed: RegistrationImage, moving: RegistrationImage, finest: int, coarsest: int) -> None:
        fixed_extent, moving_extent = canvas_extents(fixed, moving)
        self._working_from_fixed = working_from_pixel(fixed, fixed_extent)
        self._working_from_moving = working_from_pixel(moving, moving_extent)
        pair = CanvasPair(draw(fixed, fixed_extent, finest), draw(moving, moving_extent, finest))
        self._pairs = {finest: pair}
        while pair.size > coarsest:
            pair = pair.halved()
            self._pairs[pair.size] = pair

    def at(self, size: int) -> CanvasPair:
        """The canvases of this size."""
        return self._pairs[size]

    def fixed_to_moving_px(self, alignment: Alignment) -> NDArray[np.float64]:
        """The 3x3 matrix from fixed pixels (x, y, 1) to moving pixels."""
        matrix = np.linalg.inv(self._working_from_moving) @ alignment.matrix.numpy() @ self._working_from_fixed
        matrix[2] = (0.0, 0.0, 1.0)
        return np.asarray(matrix, np.float64)
