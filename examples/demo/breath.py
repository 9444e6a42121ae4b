"""The same body in another breath: an X-ray of it after a bend below one lung, beside the motion of the whole.

The bend is exactly known, and only where it is said to be, so that what a registration makes of it can be measured, and
seen: a grid that follows the body bends there and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.demo.ct_volume import CtVolume
from examples.demo.known_motion import KnownMotion
from examples.demo.known_warp import KnownWarp, Points, mapped, pixel_grid, sample
from examples.demo.simulated_xray import MaterialPaths, simulate_xray
from examples.demo.truth import Mask
from examples.demo.working_grid import WorkingGrid
from hilum.types import Image

# The dome of the liver, as shares of the picture's width and height, and how far the bend reaches, of the width.
DOME, RADIUS = (0.30, 0.62), 0.25
# Displacements below it do not count as a bend, in px of the reference grid.
STILL_PX = 0.5


@dataclass(frozen=True, eq=False)
class Breath:
    """An X-ray of the bent body and the truth about it.

    Attributes:
        warp: how the body moved and bent, in pixels of the reference grid.
        reference: the grid of 256 columns.
        grid: the grid of the pictures, on which points are given.
        xray: the simulated X-ray.
    """

    warp: KnownWarp
    reference: WorkingGrid
    grid: WorkingGrid
    xray: Image

    @classmethod
    def taken(cls, volume: CtVolume, paths: MaterialPaths, grid: WorkingGrid, seed: int) -> Breath:
        """Draw a motion and a bend of 6 to 12 px of 256 at its peak, and take the picture."""
        reference = WorkingGrid.over(volume)
        size = (reference.height, reference.width)
        centre = DOME[0] * reference.width, DOME[1] * reference.height
        warp = KnownWarp.from_seed(seed, size).around(centre, RADIUS * reference.width)
        bent = bent_paths(paths, reference, warp)
        xray = simulate_xray(volume, bent, grid, rigid_motion(reference, warp), seed)
        return cls(warp, reference, grid, xray.image)

    def fixed_to_moving(self, points: Points) -> Points:
        """Where in the X-ray the points (..., 2) of the CT's picture lie."""
        return mapped(self._out_of_reference, self.warp.fixed_to_moving(mapped(self._into_reference, points)))

    def moving_to_fixed(self, points: Points) -> Points:
        """The inverse of `fixed_to_moving`."""
        return mapped(self._out_of_reference, self.warp.moving_to_fixed(mapped(self._into_reference, points)))

    @property
    def bent(self) -> Mask:
        """Where the body is displaced by a bend; bool, the grid's shape."""
        places = mapped(self._into_reference, pixel_grid((self.grid.height, self.grid.width)))
        moved = np.linalg.norm(self.warp.straightened(places) - places, axis=-1)
        return np.asarray(moved > STILL_PX, np.bool_)

    @property
    def _into_reference(self) -> Points:
        return np.asarray(np.linalg.inv(self.reference.native_from_grid) @ self.grid.native_from_grid, np.float64)

    @property
    def _out_of_reference(self) -> Points:
        return np.asarray(np.linalg.inv(self._into_reference), np.float64)


def bent_paths(paths: MaterialPaths, grid: WorkingGrid, warp: KnownWarp) -> MaterialPaths:
    """Path lengths of the bent and stretched body.

    Bend and stretch act on the path lengths in the volume's own pixels, the motion where the X-ray is simulated, both
    before the detector: nothing that the detector adds is interpolated.

    Args:
        paths: of the body as the CT shows it.
        grid: in whose pixels the warp is.
        warp: what happens to the body.
    """
    unstretched = mapped(
        np.linalg.inv(warp.stretch) @ np.linalg.inv(grid.native_from_grid), pixel_grid(paths.soft.shape)
    )
    bent = mapped(grid.native_from_grid, warp.bend(unstretched))
    return MaterialPaths(*(np.clip(sample(path, bent), 0, None) for path in (paths.soft, paths.bone)))


def rigid_motion(grid: WorkingGrid, warp: KnownWarp) -> KnownMotion:
    """The warp's rotation, scale and shift, as of a body that has bent before."""
    x, y = warp.shift_px
    return KnownMotion(warp.rotation_deg, warp.scale, (x * grid.spacing_mm, y * grid.spacing_mm))
