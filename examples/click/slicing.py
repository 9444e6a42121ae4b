"""From labelled volumes to samples: slices with square pixels, the patient's right on the left, a target per organ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from examples.demo.truth import largest_component
from modeling.sample import Sample, Split, Target, mask_target

Plane: TypeAlias = Literal["axial", "coronal", "sagittal"]
_NORMAL: Mapping[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Origin:
    """Whose a volume is; see `Sample`."""

    source: str
    modality: str
    patient: str
    split: Split


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """A volume of one patient, its axes turned to (right, anterior, superior).

    Attributes:
        values: (x, y, z); x grows to the patient's right, y to the front, z to the head.
        labels: (x, y, z) integers, or None where nothing is labelled.
        spacing_mm: (x, y, z).
        names: what the labels mean; labels without a name are no targets. Several labels may share a name.
        origin: whose it is.
    """

    values: NDArray[Any]
    labels: NDArray[Any] | None
    spacing_mm: tuple[float, float, float]
    names: Mapping[int, str]
    origin: Origin


def grey_levels(values: NDArray[Any], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Values as uint8, from a window (centre, width) or, without one, from the percentiles .5 and 99.5."""
    if window is None:
        low, high = np.percentile(values, (0.5, 99.5))
    else:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    scaled = (values.astype(np.float32) - low) / max(float(high - low), 1e-6)
    return np.asarray((np.clip(scaled, 0, 1) * 255).round(), np.uint8)


def one_channel(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """A grey uint8 picture (h, w) of one that may have colours."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.uint8)


def slices(
    volume: LabelledVolume,
    plane: Plane,
    indices: Iterator[int] | list[int],
    window: tuple[float, float] | None,
    *,
    min_area_px: int = 40,
) -> Iterator[Sample]:
    """Yield slices as samples; those of labelled volumes with at least one target."""
    for index in indices:
        values, spacing = _plane(volume.values, volume.spacing_mm, plane, index)
        image, side = _square_pixels(grey_levels(values, window), spacing, cv2.INTER_LINEAR)
        targets: tuple[Target, ...] = ()
        if volume.labels is not None:
            labels, _ = _plane(volume.labels, volume.spacing_mm, plane, index)
            targets = tuple(_targets(labels, volume.names, spacing, min_area_px))
            if not targets:
                continue
        origin = volume.origin
        name = f"{origin.patient}-{plane}-{index:03d}" + ("" if window is None else f"-w{window[0]:.0f}")
        yield Sample(name, image, targets, **vars(origin), spacing_mm=(side, side))


def _targets(
    labels: NDArray[Any], names: Mapping[int, str], spacing: tuple[float, float], min_area_px: int
) -> Iterator[Target]:
    """One target per name: a mask whose largest part holds nine tenths of it, so that one click can mean it."""
    for name in dict.fromkeys(names.values()):
        mask = np.isin(labels, [label for label, other in names.items() if other == name])
        if not mask.any():
            continue
        square, _ = _square_pixels(mask.astype(np.uint8), spacing, cv2.INTER_NEAREST)
        largest = largest_component(square > 0)
        if largest.sum() >= max(min_area_px, 0.9 * (square > 0).sum()):
            yield mask_target(name, largest)


def _plane(
    volume: NDArray[Any], spacing: tuple[float, float, float], plane: Plane, index: int
) -> tuple[NDArray[Any], tuple[float, float]]:
    """A slice as rows from the head (or front) down, columns from the patient's right; with its (x, y) spacing."""
    normal = _NORMAL[plane]
    across, down = (axis for axis in range(3) if axis != normal)
    cut = np.take(volume, index, axis=normal)
    return np.ascontiguousarray(cut[::-1, ::-1].T), (spacing[across], spacing[down])


def _square_pixels(
    picture: NDArray[np.uint8], spacing: tuple[float, float], interpolation: int
) -> tuple[NDArray[np.uint8], float]:
    """A picture resampled to the finer of its two spacings, and that spacing."""
    side = min(spacing)
    height, width = picture.shape
    size = (max(round(width * spacing[0] / side), 1), max(round(height * spacing[1] / side), 1))
    if size == (width, height):
        return picture, side
    return cv2.resize(picture, size, interpolation=interpolation).astype(np.uint8), side
