"""Registering the CT's projection to the simulated X-ray, and how far off the result is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from examples.demo.ct_volume import CtVolume
from examples.demo.truth import Mask
from examples.demo.working_grid import WorkingGrid
from hilum import Client, Image, ImageGeometry, ProjectionAxis, ProjectionMethod, TargetPair, Transform, ViewRelation
from hilum.geometry import Float
from hilum.registration_options import RegistrationOptions, TransformModel
from hilum.types import Registration, RegistrationProgress

# The pixel in which registration errors are usually given: 256 of them across the volume.
REFERENCE_WIDTH = 256


@dataclass(frozen=True)
class TargetRegistrationError:
    """Distances between where a transform takes the body's pixels and where they belong, in mm and px of 256.

    Attributes:
        errors_mm: One per body pixel of the working grid, measured on the fixed side.
        pixel_mm: Side of a pixel when 256 of them cover the volume.
    """

    errors_mm: Float
    pixel_mm: float

    @property
    def mean_px(self) -> float:
        """Mean in px of 256."""
        return float(self.errors_mm.mean() / self.pixel_mm)

    @property
    def max_px(self) -> float:
        """Largest in px of 256."""
        return float(self.errors_mm.max() / self.pixel_mm)

    @property
    def mean_mm(self) -> float:
        """Mean in mm."""
        return float(self.errors_mm.mean())


def coronal_projection(client: Client, volume: CtVolume) -> Image:
    """Asks the fusion service for the CT's antero-posterior projection."""
    return client.project(volume.as_volume(), axis=ProjectionAxis.DEPTH, method=ProjectionMethod.ATTENUATION)


def register(
    client: Client,
    projection: Image,
    xray: Image,
    targets: tuple[TargetPair, ...] = (),
    *,
    model: TransformModel = TransformModel.AFFINE,
    on_progress: Callable[[RegistrationProgress], None] | None = None,
) -> Registration:
    """Registers the projection (fixed) to the X-ray (moving)."""
    return client.register(
        projection,
        xray,
        view_relation=ViewRelation.COMPARABLE,
        targets=targets,
        options=RegistrationOptions(model),
        on_progress=on_progress,
    )


def on_grid(transform: Transform, grid: WorkingGrid, volume: CtVolume, depth: int) -> Transform:
    """Returns the transform for images on the working grid: a slab or slice inherits it from the projection.

    Grid pixels lie in the projection's plane at a known place, so the grid's own map comes first.
    """
    from_grid = Transform.from_matrix(
        grid.native_from_grid, (grid.height, grid.width), transform.fixed_size, moving_geometry=transform.fixed_geometry
    )
    inherited = from_grid.then(transform)
    return Transform.from_matrix(
        inherited.pixel_matrix,
        inherited.fixed_size,
        inherited.moving_size,
        fixed_geometry=ImageGeometry(grid.frame(volume, depth)),
        moving_geometry=inherited.moving_geometry,
        flags=inherited.flags,
        algorithm=inherited.algorithm,
        displacement_field=inherited.displacement_field,
    )


def registration_error(
    grid_transform: Transform, grid: WorkingGrid, moving_to_fixed: Callable[[Float], Float], body: Mask
) -> TargetRegistrationError:
    """Compares a transform on the working grid with what really happened to the body, over the body's pixels.

    Args:
        grid_transform: Fixed to moving, on the grid.
        grid: Of both images.
        moving_to_fixed: Where points (n, 2) of the moving image really come from.
        body: Where errors count.
    """
    rows, columns = np.nonzero(body)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    moved = grid_transform.apply(points)
    errors = np.linalg.norm(moving_to_fixed(moved) - points, axis=1) * grid.spacing_mm
    return TargetRegistrationError(errors, grid.spacing_mm * grid.width / REFERENCE_WIDTH)
