"""A motion of the image plane that is known exactly, because the demo made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from examples.demo.working_grid import WorkingGrid

MOTION_SEEDS: Final = tuple(range(10))

_ROTATION_DEG = 10.0
_SCALE = 0.10
# 20 px where 256 columns cover the volume's 360 mm.
_TRANSLATION_MM = 28.125


@dataclass(frozen=True)
class KnownMotion:
    """Rotation and scale about the centre of the working grid, then a translation.

    The fixed image is the body as the CT shows it; the moving image is the same body after the motion.

    Attributes:
        rotation_deg: positive turns x (the patient's left) towards y (feet).
        scale: isotropic magnification.
        translation_mm: (x, y).
    """

    rotation_deg: float = 0.0
    scale: float = 1.0
    translation_mm: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def from_seed(cls, seed: int) -> KnownMotion:
        """Draw uniformly from +-10 degrees, +-10 % and +-28.125 mm (20 px of 256) along each axis."""
        random = np.random.default_rng(seed)
        x_mm, y_mm = random.uniform(-_TRANSLATION_MM, _TRANSLATION_MM, 2)
        return cls(
            rotation_deg=float(random.uniform(-_ROTATION_DEG, _ROTATION_DEG)),
            scale=float(random.uniform(1 - _SCALE, 1 + _SCALE)),
            translation_mm=(float(x_mm), float(y_mm)),
        )

    def fixed_to_moving(self, grid: WorkingGrid) -> npt.NDArray[np.float64]:
        """The 3x3 matrix from a fixed pixel (x, y, 1) to the moving pixel that shows the same anatomy."""
        angle = np.deg2rad(self.rotation_deg)
        turn = self.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([(grid.width - 1) / 2, (grid.height - 1) / 2])
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        matrix[:2, 2] = centre - turn @ centre + np.array(self.translation_mm) / grid.spacing_mm
        return matrix

    def moving_to_fixed(self, grid: WorkingGrid) -> npt.NDArray[np.float64]:
        """The inverse of `fixed_to_moving`."""
        return np.asarray(np.linalg.inv(self.fixed_to_moving(grid)), dtype=np.float64)


def apply(matrix: npt.NDArray[np.float64], points_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Map points (x, y) in pixels, shape (n, 2), through a 3x3 affine matrix."""
    return np.asarray(points_px @ matrix[:2, :2].T + matrix[:2, 2], dtype=np.float64)
