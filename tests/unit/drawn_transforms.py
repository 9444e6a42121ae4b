"""Transforms of every kind, drawn for tests: between volumes, between slices in the patient, and in planes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from hilum.displacement_field import DisplacementField, grid_points
from hilum.geometry import DetectorFrame, Float, Frame, ImageGeometry, Matrix3, PatientFrame, PlaneFrame
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.transform_world import is_planar
from hilum.warp import affine, inverted

# How fast a machine is says nothing about what is tested.
UNHURRIED = settings(deadline=None, max_examples=30)

FIXED_UID, MOVING_UID = "1.2.826.0.1.1", "1.2.826.0.1.2"


@dataclass(frozen=True)
class Kinds:
    """Which transforms are drawn."""

    volumes: bool = True
    slices: bool = True
    planes: bool = True


def patient_frame(generator: np.random.Generator, uid: str, *, thickness: bool = True) -> PatientFrame:
    """A frame of any orientation, place and spacing, half of them left-handed."""
    rows = Rotation.random(rng=generator).as_matrix()
    rows[:, 2] *= generator.choice([-1.0, 1.0]) if thickness else 1.0
    direction: Matrix3 = tuple(tuple(float(x) for x in row) for row in rows)  # type: ignore[assignment]  # three of three
    x, y, z = (float(value) for value in generator.uniform(-200, 200, 3))
    dx, dy, dz = (float(value) for value in generator.uniform(0.4, 3.0, 3))
    return PatientFrame((x, y, z), direction, (dx, dy, dz if thickness else 0.0), uid)


def linear_map(generator: np.random.Generator, dimension: int) -> Float:
    """A plausible affine map of pixels: a turn, scales, some shear and a shift."""
    matrix = np.eye(dimension + 1)
    turn = Rotation.from_rotvec(
        generator.uniform(-0.3, 0.3, 3) * ([1, 1, 1] if dimension == 3 else [0, 0, 1])
    ).as_matrix()
    shear = np.eye(dimension) + np.triu(generator.uniform(-0.1, 0.1, (dimension, dimension)), 1)
    scales = np.diag(generator.uniform(0.8, 1.25, dimension))
    matrix[:-1, :-1] = turn[:dimension, :dimension] @ shear @ scales
    matrix[:-1, -1] = generator.uniform(-3, 3, dimension)
    return matrix


def smooth_field(generator: np.random.Generator, size: tuple[int, ...], peak: float = 1.2) -> DisplacementField:
    """Displacements up to a peak in pixels, without folds, on the pixels or on a coarser grid that covers them."""
    dimension = len(size)
    step = float(generator.choice([1.0, 1.5, 2.0]))
    shape = tuple(int(np.ceil((count - 1) / step)) + 1 for count in size)
    noise = generator.normal(size=(dimension, *shape))
    values = np.stack([ndimage.gaussian_filter(part, 2.0, mode="nearest") for part in noise])
    values = values + generator.normal(size=(dimension, *[1] * dimension)) * 0.1
    values *= peak / max(float(np.abs(values).max()), 1e-9)
    # Neighbours differ by less than a third of a step, along each axis: nothing folds.
    steepest = max(
        (float(np.abs(np.diff(values, axis=axis + 1)).max(initial=0)) for axis in range(dimension)), default=0
    )
    values *= min(1.0, 0.3 * step / max(steepest, 1e-9))
    return DisplacementField(values, np.diag([*[step] * dimension, 1.0]))


@st.composite
def transforms(draw: st.DrawFn, kinds: Kinds = Kinds(), *, deformable: bool | None = None) -> Transform:
    """A transform with geometries of its kind; with a displacement field, without one, or either."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    chosen = draw(st.sampled_from([name for name, wanted in vars(kinds).items() if wanted]))
    dimension = 3 if chosen == "volumes" else 2
    sizes = draw(st.tuples(*[st.tuples(*[st.integers(3, 9)] * dimension)] * 2))
    frames: tuple[Frame, Frame]
    if chosen == "planes":
        x, y = (float(value) for value in generator.uniform(0.2, 2.0, 2))
        others: list[Frame] = [PlaneFrame((y, x)), DetectorFrame((x, y), 1.3)]
        frames = (PlaneFrame((x, y)), draw(st.sampled_from(others)))
    else:
        thick = chosen == "volumes" or draw(st.booleans())
        frames = tuple(  # type: ignore[assignment]  # two of two
            patient_frame(generator, uid, thickness=thick) for uid in (FIXED_UID, MOVING_UID)
        )
    has_field = draw(st.booleans()) if deformable is None else deformable
    return Transform.from_matrix(
        linear_map(generator, dimension),
        sizes[0],
        sizes[1],
        fixed_geometry=ImageGeometry(frames[0]),
        moving_geometry=ImageGeometry(frames[1]),
        displacement_field=smooth_field(generator, sizes[0]) if has_field else None,
        algorithm="drawn",
    )


def world_dimension(transform: Transform) -> int:
    """Dimension of the transform in mm."""
    return 2 if is_planar(transform.fixed_grid, transform.moving_grid) else 3


def to_mm(image: ImageGrid, pixels: Float, dimension: int) -> Float:
    """Places in mm (n, dimension) of an image's pixels."""
    matrix = image.plane_mm if dimension == 2 else image.patient_mm
    return affine(matrix, np.pad(pixels, ((0, 0), (0, dimension - pixels.shape[1]))))


def moved_mm(transform: Transform, points_mm: Float) -> Float:
    """Where the transform takes places in the fixed image (n, 3): off a slice, to places as far off the other one."""
    pixels = affine(inverted(transform.fixed_grid.patient_mm), points_mm)
    dimension = transform.warp.dimension
    pixels[:, :dimension] = transform.apply(pixels[:, :dimension])
    return to_mm(transform.moving_grid, pixels, 3)


def inside(transform: Transform, count: int = 20) -> Float:
    """Points within the fixed image, its pixels among them."""
    generator = np.random.default_rng(0)
    last = np.array(transform.fixed_grid.size[::-1]) - 1
    return np.concatenate([generator.uniform(0, last, (count, len(last))), grid_points(transform.fixed_grid.size)])


def around(transform: Transform, count: int = 40) -> Float:
    """Points within the fixed image and beyond it, none where a displacement field ends."""
    generator = np.random.default_rng(1)
    size = np.array(transform.fixed_grid.size[::-1])
    points = generator.uniform(-size, 2 * size, (count, len(size)))
    field = transform.displacement_field
    if field is None:
        return points
    index = affine(inverted(field.grid), points)
    edges = np.array([-0.5 * np.ones(len(size)), np.array(field.shape[::-1]) - 0.5])
    distance = np.abs(index[:, None] - edges).min(axis=(1, 2))
    return np.asarray(points[distance > 1e-3], np.float64)
