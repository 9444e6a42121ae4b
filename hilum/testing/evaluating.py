"""How the fake fusion service evaluates a transform: the service's figures, by plain arithmetic."""

from __future__ import annotations

import numpy as np

from hilum.codec.evaluations import KnownPlaces
from hilum.evaluation import LandmarkErrors, RegistrationEvaluation, TargetEvaluation
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.types import BoolMask


def evaluated(transform: Transform, known: KnownPlaces) -> RegistrationEvaluation:
    """Returns the errors; folding and the way back are not looked for."""
    spacing = transform.moving_geometry.plane_spacing_mm
    scale = np.array(spacing or (1.0, 1.0))
    moved = [transform.apply([pair.fixed_px])[0] - pair.moving_px for pair in known.landmarks]
    errors = [float(np.linalg.norm(missed * scale)) for missed in moved]
    return RegistrationEvaluation(
        "px" if spacing is None else "mm",
        LandmarkErrors(tuple(errors)) if errors else None,
        tuple(_fit(transform, one, other, scale) for one, other in known.targets),
        0.0,
        None,
        transform.flags,
    )


def _fit(transform: Transform, in_fixed: BoolMask, in_moving: BoolMask, scale: Float) -> TargetEvaluation:
    moved, there = transform.apply(_pixels(in_fixed)), _pixels(in_moving)
    nearest = np.rint(transform.apply(_pixels(np.ones_like(in_fixed)))).astype(int)
    inside = ((nearest >= 0) & (nearest < in_moving.shape[::-1])).all(axis=1)
    on_fixed = np.zeros(in_fixed.size, np.bool_)
    on_fixed[inside] = in_moving[nearest[inside, 1], nearest[inside, 0]]
    both = float((on_fixed & in_fixed.ravel()).sum())
    apart = np.linalg.norm(
        (transform.apply(_pixels(_edge(in_fixed)))[:, None] - _pixels(_edge(in_moving))[None]) * scale, axis=2
    )
    one_way, other_way = apart.min(axis=1), apart.min(axis=0)
    return TargetEvaluation(
        2 * both / float(on_fixed.sum() + in_fixed.sum()),
        float(np.linalg.norm((moved.mean(axis=0) - there.mean(axis=0)) * scale)),
        float((one_way.mean() + other_way.mean()) / 2),
        float(max(one_way.max(), other_way.max())),
    )


def _edge(mask: BoolMask) -> BoolMask:
    wide = np.pad(mask, 1)
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return np.asarray(mask & ~inner, np.bool_)


def _pixels(mask: BoolMask) -> Float:
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows], axis=1).astype(np.float64)
