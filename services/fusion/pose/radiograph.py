"""A radiograph with a known projection geometry: where its rays come from and where its pixels lie.

All lengths are in mm, all positions in one patient frame, LPS: the room, named by the axes of a patient who lies as in
the initial pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import InvalidField
from hilum.geometry import Float, PatientFrame, Vector3, pixel_to_patient

_LEAST_SIDE_PX = 16
_GRAZING = 0.1


@dataclass(frozen=True)
class ConeBeam:
    """Rays that leave one point.

    Attributes:
        source_mm: the focal spot, LPS.
    """

    source_mm: Vector3


@dataclass(frozen=True)
class ParallelBeam:
    """Rays that run alongside each other, as from a source very far away.

    Attributes:
        direction: in which they run, LPS; any length above 0.
    """

    direction: Vector3


Beam: TypeAlias = ConeBeam | ParallelBeam


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A planar X-ray image.

    Attributes:
        pixels: (height, width), any real dtype; the larger, the more was absorbed: bone is bright.
        detector: origin_mm is the centre of the first pixel, columns 0 and 1 of direction are those of increasing x and
            y; the third spacing does not count.
        beam: where rays come from.
        valid: bool (height, width), false where nothing was exposed; all true when absent.
    """

    pixels: NDArray[np.generic]
    detector: PatientFrame
    beam: Beam
    valid: NDArray[np.bool_] | None = None

    def check(self, field: str) -> None:
        """Refuse what cannot be used.

        Raises:
            InvalidField: the image is too small, the mask has another shape, or rays do not meet the detector.
        """
        if self.pixels.ndim != 2 or min(self.pixels.shape) < _LEAST_SIDE_PX:
            raise InvalidField(
                f"needs (height, width) of at least {_LEAST_SIDE_PX} px, has {self.pixels.shape}",
                field=f"{field}.pixels",
            )
        if self.valid is not None and self.valid.shape != self.pixels.shape:
            raise InvalidField(f"has shape {self.valid.shape}, pixels {self.pixels.shape}", field=f"{field}.valid")
        along = self.viewing_direction()
        if not np.isfinite(along).all() or abs(float(along @ np.asarray(self.detector.direction)[:, 2])) < _GRAZING:
            raise InvalidField(
                "rays must meet the detector's plane, from a point outside of it or along its normal",
                field=f"{field}.beam",
            )

    def viewing_direction(self) -> Float:
        """The unit vector, LPS, in which the central ray runs; NaN where the geometry has none."""
        along = np.asarray(
            self.beam.direction if isinstance(self.beam, ParallelBeam) else self._centre() - self.beam.source_mm,
            dtype=np.float64,
        )
        length = float(np.linalg.norm(along))
        direction: Float = along / length if length > 0 else np.full(3, np.nan)
        return direction

    def _centre(self) -> Float:
        height, width = self.pixels.shape
        return pixel_to_patient(self.detector, [[(width - 1) / 2, (height - 1) / 2]])[0]


@dataclass(frozen=True, eq=False)
class Rays:
    """The rays of a radiograph at one resolution; n = height * width of them, in row-major order.

    Attributes:
        image: float64 (height, width), the radiograph.
        valid: bool (height, width).
        origin: float64 (n, 3), LPS mm: the source, or the pixel where the beam is parallel.
        direction: float64 (n, 3), unit vectors.
        reach: float64 (n,), how far in mm rays run behind their origin; infinite where the beam is parallel.
        viewing_direction: float64 (3,), of the central ray.
    """

    image: Tensor
    valid: Tensor
    origin: Tensor
    direction: Tensor
    reach: Tensor
    viewing_direction: Tensor

    @classmethod
    def of(cls, radiograph: Radiograph, factor: int) -> Rays:
        """The rays through the centres of blocks of factor x factor pixels, whose mean is the image."""
        pixels = torch.as_tensor(radiograph.pixels.astype(np.float64))
        valid = torch.ones_like(pixels) if radiograph.valid is None else torch.as_tensor(radiograph.valid).double()
        image = F.avg_pool2d((pixels * valid)[None], factor)[0]
        height, width = image.shape
        middle = (factor - 1) / 2
        y, x = np.mgrid[:height, :width] * factor + middle
        centres = pixel_to_patient(radiograph.detector, np.stack([x.ravel(), y.ravel()], axis=1))
        along = radiograph.viewing_direction()
        if isinstance(radiograph.beam, ParallelBeam):
            origin, direction = centres, np.broadcast_to(along, centres.shape).copy()
            reach = np.full(len(centres), np.inf)
        else:
            origin = np.broadcast_to(np.asarray(radiograph.beam.source_mm, np.float64), centres.shape).copy()
            reach = np.linalg.norm(centres - origin, axis=1)
            direction = (centres - origin) / reach[:, None]
        return cls(
            image,
            F.avg_pool2d(valid[None], factor)[0] == 1,
            torch.as_tensor(origin),
            torch.as_tensor(direction),
            torch.as_tensor(reach),
            torch.as_tensor(along),
        )
