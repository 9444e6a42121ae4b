"""The rays of a radiograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hilum.geometry import pixel_to_patient
from hilum.pose import ParallelBeam, Radiograph


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
        valid = torch.as_tensor(radiograph.valid).double()
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
