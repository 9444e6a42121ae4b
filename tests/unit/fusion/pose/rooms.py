"""A small body with known attenuation, and radiographs of it that are computed without the code under test."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hilum.geometry import Float, Matrix3, PatientFrame, pixel_to_patient
from hilum.pose import ConeBeam, ParallelBeam, Radiograph

# Columns are the directions of a picture's columns, rows and normal.
FROM_THE_FRONT: Matrix3 = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
FROM_THE_RIGHT: Matrix3 = ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
INTO = {FROM_THE_FRONT: (0.0, 1.0, 0.0), FROM_THE_RIGHT: (1.0, 0.0, 0.0)}
CENTRE = np.array([20.0, -30.0, 100.0])
SIDE_PX, PIXEL_MM = 64, 4.0

# Centre (x, y, z) from the body's middle in mm, radii in mm, relative attenuation added: a trunk, two lungs, a spine,
# and what lies between.
Ellipsoid = tuple[tuple[float, float, float], tuple[float, float, float], float]
ELLIPSOIDS: tuple[Ellipsoid, ...] = (
    ((0, 0, 0), (80, 52, 92), 0.9),
    ((-36, 4, 30), (24, 28, 40), -0.65),
    ((38, -6, 26), (22, 26, 36), -0.65),
    *(((2.0 * (n % 2), 36, 18 * n - 72), (11, 9, 6), 1.6) for n in range(9)),
    *(((side * (66 - 2 * n), -10 + 4 * n, 60 - 18 * n), (5, 26, 4), 1.2) for n in range(6) for side in (-1, 1)),
    ((-34, -14, -44), (26, 18, 22), 0.35),
    ((30, 16, -36), (12, 10, 20), 0.4),
    ((-30, 20, -58), (10, 9, 17), 0.4),
    ((12, -30, -16), (9, 8, 9), 0.9),
    ((50, 2, -60), (7, 7, 7), 1.3),
    ((-52, -4, -20), (6, 8, 6), 1.1),
)


def hounsfield(
    spacing: tuple[float, float, float] = (3.0, 3.0, 4.0), softness_mm: float = 1.5
) -> tuple[NDArray[np.float32], PatientFrame]:
    """A body of soft ellipsoids as a CT, (depth, height, width), oblique in the patient; and where it lies."""
    shape = int(220 / spacing[2]), int(200 / spacing[1]), int(200 / spacing[0])
    turn = Rotation.from_euler("xyz", (4, -3, 6), degrees=True).as_matrix()
    middle = (np.array(shape[::-1]) - 1) / 2 * spacing
    origin = CENTRE - turn @ middle
    frame = PatientFrame(tuple(origin.tolist()), _matrix(turn), spacing)
    z, y, x = np.indices(shape)
    points = pixel_to_patient(frame, np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)) - CENTRE
    return (1000 * (density(points, softness_mm).reshape(shape) - 1)).astype(np.float32), frame


def _matrix(turn: Float) -> Matrix3:
    a, b, c, d, e, f, g, h, i = turn.ravel().tolist()
    return (a, b, c), (d, e, f), (g, h, i)


def density(points: Float, softness_mm: float = 1.5) -> Float:
    """Relative attenuation at points (n, 3), in mm from the body's middle; edges are this soft."""
    total = np.zeros(len(points))
    for middle, radii, value in ELLIPSOIDS:
        scaled = np.linalg.norm((points - np.asarray(middle)) / radii, axis=1)
        total += value / (1 + np.exp(np.clip((scaled - 1) * min(radii) / softness_mm, -60, 60)))
    return np.clip(total, 0, None)


def pose(turn_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Float:
    """4 x 4: a turn about the body's middle, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn_deg, degrees=True).as_matrix()
    matrix[:3, 3] = CENTRE + shift_mm - matrix[:3, :3] @ CENTRE
    return matrix


def detector(
    view: Matrix3, behind_mm: float = 150.0, side_px: int = SIDE_PX, pixel_mm: float = PIXEL_MM
) -> PatientFrame:
    """A square detector whose middle lies behind the body's."""
    axes = np.asarray(view)
    middle = CENTRE + behind_mm * np.asarray(INTO[view])
    corner = middle - pixel_mm * (side_px - 1) / 2 * (axes[:, 0] + axes[:, 1])
    return PatientFrame(tuple(corner.tolist()), view, (pixel_mm, pixel_mm, 0.0))


def radiograph(view: Matrix3, true_pose: Float, *, parallel: bool = False, step_mm: float = 2.0) -> Radiograph:
    """The body's picture by sums of its formula along rays: another gamma than the projection's, and noise."""
    frame, into = detector(view), np.asarray(INTO[view])
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    ends = pixel_to_patient(frame, np.stack([x.ravel(), y.ravel()], axis=1))
    source = CENTRE - 700 * into
    starts = ends - 400 * into if parallel else source + (ends - source) * 0.5
    inverse = np.linalg.inv(true_pose)
    total = np.zeros(len(ends))
    length = np.linalg.norm(ends - starts, axis=1)
    count = int(length.max() / step_mm)
    for share in (np.arange(count) + 0.5) / count:
        points = starts + share * (ends - starts)
        total += density(points @ inverse[:3, :3].T + inverse[:3, 3] - CENTRE) * length / count
    noise = np.random.default_rng(3).normal(0, 0.4, total.shape)
    pixels = (np.sqrt(total * 30) + noise).reshape(SIDE_PX, SIDE_PX)
    beam = ParallelBeam(tuple(into.tolist())) if parallel else ConeBeam(tuple(source.tolist()))
    return Radiograph(pixels.astype(np.float32), frame, beam)
