"""Two images in one working space, at every resolution that a registration uses."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import NoContent
from hilum.registration_options import LandmarkPair, RegistrationOptions
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import (
    Canvas,
    RegistrationImage,
    canvas_extents,
    draw,
    draw_mask,
    halve,
    working_from_pixel,
)
from services.fusion.registration.landmarks import Landmarks


@dataclass(frozen=True, eq=False)
class CanvasPair:
    """Both images at one resolution, and what else is known.

    Attributes:
        fixed: the fixed image.
        moving: the moving image.
        landmarks: points that should meet.
        rigid: float32 (n, n), share of each fixed pixel that may not bend; None where everything may.
    """

    fixed: Canvas
    moving: Canvas
    landmarks: Landmarks = field(default_factory=Landmarks.none)
    rigid: Tensor | None = None

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
        rigid = None if self.rigid is None else halve(self.rigid[None])[0]
        return replace(self, fixed=self.fixed.halved(), moving=self.moving.halved(), rigid=rigid)

    def mirrored(self, axis: int) -> CanvasPair:
        """The moving canvas turned to its mirror image, along rows (0) or columns (1); no landmark is known of it."""
        return replace(self, moving=self.moving.mirrored(axis), landmarks=Landmarks.none())


class Workspace:
    """The canvases of a fixed and a moving image, halved from a finest size down to a coarsest.

    Attributes:
        working_from_fixed: float64 (3, 3), from fixed pixels (x, y, 1) to working space.
        working_from_moving: the same of the moving image.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        finest: side of the finest canvas in pixels, the coarsest doubled some times.
        coarsest: side of the coarsest.
        landmarks: points that should meet.
        rigid_region: bool (height, width) of the fixed image, what may not bend.
        canvases: both images drawn on the finest canvas, where that has been done.
    """

    def __init__(
        self,
        fixed: RegistrationImage,
        moving: RegistrationImage,
        finest: int,
        coarsest: int,
        *,
        landmarks: Sequence[LandmarkPair] = (),
        rigid_region: NDArray[np.bool_] | None = None,
        canvases: tuple[Canvas, Canvas] | None = None,
    ) -> None:
        fixed_extent, moving_extent = canvas_extents(fixed, moving)
        self.working_from_fixed = working_from_pixel(fixed, fixed_extent)
        self.working_from_moving = working_from_pixel(moving, moving_extent)
        pair = CanvasPair(
            *(canvases or (draw(fixed, fixed_extent, finest), draw(moving, moving_extent, finest))),
            self._landmarks(landmarks),
            None if rigid_region is None else draw_mask(rigid_region, fixed, fixed_extent, finest),
        )
        self._pairs = {finest: pair}
        while pair.size > coarsest:
            pair = pair.halved()
            self._pairs[pair.size] = pair

    @classmethod
    def in_steps(
        cls,
        fixed: RegistrationImage,
        moving: RegistrationImage,
        finest: int,
        coarsest: int,
        options: RegistrationOptions,
    ) -> Generator[None, None, Workspace]:
        """Draw one image after the other: large ones take their time, and a caller may want to stop in between.

        Raises:
            NoContent: too few pixels of an image are usable to be seen on the finest canvas.
        """
        fixed_extent, moving_extent = canvas_extents(fixed, moving)
        drawn_fixed = draw(fixed, fixed_extent, finest)
        yield
        drawn = drawn_fixed, draw(moving, moving_extent, finest)
        yield
        for name, canvas in zip(("fixed", "moving"), drawn, strict=True):
            if not canvas.valid.any():
                raise NoContent("too few pixels are usable: nothing is left of them", field=f"{name}.pixels")
        return cls(
            fixed,
            moving,
            finest,
            coarsest,
            landmarks=options.landmarks,
            rigid_region=options.rigid_region,
            canvases=drawn,
        )

    def at(self, size: int) -> CanvasPair:
        """The canvases of this size."""
        return self._pairs[size]

    def mirrored(self, axis: int) -> Workspace:
        """The same with the mirror image of the moving canvas, along rows (0) or columns (1)."""
        mirrored = copy(self)
        mirrored._pairs = {size: pair.mirrored(axis) for size, pair in self._pairs.items()}
        flip = np.eye(3)
        flip[1 - axis, 1 - axis] = -1.0
        mirrored.working_from_moving = flip @ self.working_from_moving
        return mirrored

    def fixed_to_moving_px(self, alignment: Alignment) -> NDArray[np.float64]:
        """The 3x3 matrix from displaced fixed pixels (x, y, 1) to moving pixels."""
        matrix = np.linalg.inv(self.working_from_moving) @ alignment.matrix.numpy() @ self.working_from_fixed
        matrix[2] = (0.0, 0.0, 1.0)
        return np.asarray(matrix, np.float64)

    def displacements_px(self, alignment: Alignment, columns: Tensor, rows: Tensor) -> NDArray[np.float64]:
        """(2, rows, columns): displacements (x, y) where columns and rows of the fixed image cross, in its pixels."""
        if alignment.deformation is None:
            return np.zeros((2, len(rows), len(columns)))
        scale, offset = np.diag(self.working_from_fixed)[:2], self.working_from_fixed[:2, 2]
        x, y = (place * scale[axis] + offset[axis] for axis, place in enumerate((columns, rows)))
        return np.asarray(alignment.deformation.on_grid(x, y).numpy() / scale[:, None, None], np.float64)

    def moving_places_px(self, alignment: Alignment, columns: Tensor, rows: Tensor) -> NDArray[np.float64]:
        """(2, rows, columns): where in the moving image the crossings lie, as of `displacements_px`, (x, y)."""
        displaced = np.stack(np.meshgrid(columns, rows)) + self.displacements_px(alignment, columns, rows)
        matrix = self.fixed_to_moving_px(alignment)
        return np.asarray(np.einsum("ij,jyx->iyx", matrix[:2, :2], displaced) + matrix[:2, 2, None, None])

    def alignment_of(self, fixed_to_moving_px: NDArray[np.float64]) -> Alignment:
        """The affine alignment that a 3x3 matrix between pixels stands for."""
        matrix = self.working_from_moving @ fixed_to_moving_px @ np.linalg.inv(self.working_from_fixed)
        return Alignment(torch.from_numpy(np.asarray(matrix, np.float64)))

    def _landmarks(self, pairs: Sequence[LandmarkPair]) -> Landmarks:
        if not pairs:
            return Landmarks.none()
        weights = torch.tensor([pair.weight for pair in pairs], dtype=torch.float64)
        return Landmarks(
            _mapped(self.working_from_fixed, [pair.fixed_px for pair in pairs]),
            _mapped(self.working_from_moving, [pair.moving_px for pair in pairs]),
            weights / weights.sum(),
        )


def _mapped(matrix: NDArray[np.float64], points: Sequence[tuple[float, float]]) -> Tensor:
    return torch.from_numpy(np.asarray(points, np.float64) @ matrix[:2, :2].T + matrix[:2, 2])
