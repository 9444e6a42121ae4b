"""What is said about an alignment of volumes once it is found: figures, none of which drives it, and doubts."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from services.fusion.volume_registration.alignment import Alignment, warp
from services.fusion.volume_registration.delivery import DeliveredField
from services.fusion.volume_registration.plan import COARSEST
from services.fusion.volume_registration.workspace import CanvasPair

_MIN_OVERLAP = 0.5
# Tissue that is squeezed or stretched more than this, in volume, or moved by a quarter of the canvas.
_LEAST_JACOBIAN, _LARGEST_JACOBIAN = 0.125, 8.0
_LARGEST_DISPLACEMENT = 0.25
_LARGEST_TURN_DEG, _LARGEST_SCALE, _LARGEST_SHIFT = 30.0, 1.25, 0.7
# Below these an alignment does not stand out. On development pairs (`python -m benchmarks.volumes --purpose
# development`) volumes of one body reached .105 to .264 after bending, by their affine part alone .085 and .122;
# mirrored and other bodies at most .088 and .055.
_LEAST_DISTINCTNESS_BENT, _LEAST_DISTINCTNESS = 0.095, 0.07


def overlap_fraction(pair: CanvasPair, alignment: Alignment) -> float:
    """Share of the fixed volume's body that the moving volume covers.

    The body is what is brighter than a tenth of the range, holes filled slice by slice.
    """
    usable = pair.fixed.valid.numpy() > 0
    bright = (pair.fixed.voxels.numpy() > 0.1) & usable
    body = np.stack([ndimage.binary_fill_holes(part) for part in bright]) & usable
    grid = alignment.sampling_grid(pair.size)
    valid = warp(pair.moving.valid[None], grid)[0] > 0.5
    covered = (valid & (grid.abs() <= 1.0).all(dim=-1)).numpy()
    return float((body & covered).sum() / max(int(body.sum()), 1))


def doubts(alignment: Alignment, field: DeliveredField | None, overlap: float, distinctness: float) -> tuple[str, ...]:
    """Sorted names of hilum.v1.TransformFlag that the figures of a result raise."""
    raised = set()
    if overlap < _MIN_OVERLAP:
        raised.add("LOW_OVERLAP")
    if distinctness < (_LEAST_DISTINCTNESS if field is None else _LEAST_DISTINCTNESS_BENT):
        raised.add("NO_IMPROVEMENT")
    if field is not None and field.folding_fraction > 0:
        raised.add("FOLDING")
    if _far(alignment) or (field is not None and _bent_far(alignment, field)):
        raised.add("LARGE_DEFORMATION")
    return tuple(sorted(raised))


def _far(alignment: Alignment) -> bool:
    """Whether rotation, scale or shift leave what a search finds."""
    left, scales, right = np.linalg.svd(alignment.matrix[:3, :3].numpy())
    cosine = (np.trace(left @ right) - 1.0) / 2.0
    return bool(
        cosine < np.cos(np.deg2rad(_LARGEST_TURN_DEG))
        or scales.max() > _LARGEST_SCALE
        or scales.min() < 1.0 / _LARGEST_SCALE
        or float(alignment.matrix[:3, 3].abs().max()) > _LARGEST_SHIFT
    )


def _bent_far(alignment: Alignment, field: DeliveredField) -> bool:
    least, largest = field.jacobian_range
    moved = 0.0
    if alignment.deformation is not None:
        moved = float(alignment.deformation.on_canvas(COARSEST).norm(dim=0).max())
    return least < _LEAST_JACOBIAN or largest > _LARGEST_JACOBIAN or moved > _LARGEST_DISPLACEMENT
