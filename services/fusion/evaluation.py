"""How well a transform between two images fits what is known in both: figures in the moving image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField
from hilum.evaluation import LandmarkErrors, RegistrationEvaluation, TargetEvaluation
from hilum.geometry import Float
from hilum.registration_options import LandmarkPair
from hilum.transform import Transform
from hilum.types import BoolMask
from services.fusion.quality import target_dice
from services.fusion.resampling import resample


def evaluate(
    transform: Transform, targets: Sequence[tuple[BoolMask, BoolMask]], landmarks: Sequence[LandmarkPair]
) -> RegistrationEvaluation:
    """Measure a transform between two images.

    Args:
        transform: fixed to moving.
        targets: masks (height, width) of the fixed and of the moving image, none empty.
        landmarks: points of both; weights do not count.

    Raises:
        InvalidField: the transform is between volumes.
    """
    spacing = transform.moving_geometry.plane_spacing_mm
    scale = np.array(spacing or (1.0, 1.0))
    errors = None
    if landmarks:
        moved = transform.planar_warp.apply([pair.fixed_px for pair in landmarks])
        missed = np.linalg.norm((moved - [pair.moving_px for pair in landmarks]) * scale, axis=1)
        errors = LandmarkErrors(tuple(missed.tolist()))
    outlines = [outline(in_moving) for _, in_moving in targets]
    known = np.concatenate([*outlines, np.reshape([pair.moving_px for pair in landmarks], (-1, 2))])
    field = transform.displacement_field
    return RegistrationEvaluation(
        "px" if spacing is None else "mm",
        errors,
        tuple(_fit(transform, in_fixed, in_moving, scale) for in_fixed, in_moving in targets),
        0.0 if field is None else folding_fraction(field),
        _inverse_residual(transform, known, scale),
        transform.flags,
    )


def outline(mask: BoolMask) -> Float:
    """(n, 2): the pixels (x, y) of a mask that touch what is outside it, or the image's edge."""
    inner = ndimage.binary_erosion(mask)
    return _pixels(mask & ~inner)


def folding_fraction(field: DisplacementField) -> float:
    """Share of the cells of a planar field's grid that have a corner at which p + u(p) turns over."""
    steps = field.grid[:2, :2]
    u = field.values.astype(np.float64)
    by_x, by_y = np.diff(u, axis=2) + steps[:, 0, None, None], np.diff(u, axis=1) + steps[:, 1, None, None]
    if not by_x.size or not by_y.size:
        return 0.0
    folded = np.zeros((u.shape[1] - 1, u.shape[2] - 1), np.bool_)
    sides = (slice(None, -1), slice(1, None))
    for y in sides:
        for x in sides:
            (a, c), (b, d) = by_x[:, y], by_y[:, :, x]
            folded |= (a * d - b * c) * np.linalg.det(steps) <= 0
    return float(folded.mean())


def _fit(transform: Transform, in_fixed: BoolMask, in_moving: BoolMask, scale: Float) -> TargetEvaluation:
    warp = transform.planar_warp
    on_fixed = resample(in_moving.astype(np.uint8), warp, transform.fixed_size, nearest=True, background=0).pixels > 0
    centroids = warp.apply(_pixels(in_fixed)).mean(axis=0), _pixels(in_moving).mean(axis=0)
    one, other = warp.apply(outline(in_fixed)) * scale, outline(in_moving) * scale
    there, back = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
    return TargetEvaluation(
        target_dice(in_fixed, on_fixed),
        float(np.linalg.norm((centroids[0] - centroids[1]) * scale)),
        float((there.mean() + back.mean()) / 2),
        float(max(there.max(), back.max())),
    )


def _inverse_residual(transform: Transform, points: Float, scale: Float) -> float | None:
    """How far moving points are missed, there and back; None where one cannot be taken back."""
    warp = transform.planar_warp
    try:
        origins = warp.apply(points, inverse=True)
    except (InvalidField, np.linalg.LinAlgError):
        return None
    # What lies beyond the fixed image was never registered.
    within = ((origins >= -0.5) & (origins <= np.array(transform.fixed_size[::-1]) - 0.5)).all(axis=1)
    if not within.any():
        return None
    points, returned = points[within], warp.apply(origins[within])
    missed = float(np.linalg.norm((returned - points) * scale, axis=1).max())
    return missed if np.isfinite(missed) else None


def _pixels(mask: BoolMask) -> Float:
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows], axis=1).astype(np.float64)
