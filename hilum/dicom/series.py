"""The slices of a DICOM series as one volume.

Source: DICOM PS3.3 C.7.6.2.1.1: slices lie along the normal of their orientation, by Image Position (Patient).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.dicom.frame import frame_image
from hilum.dicom.header import opened
from hilum.errors import UnreadableImage
from hilum.files import reading, require_voxels
from hilum.geometry import ImageGeometry, PatientFrame
from hilum.types import Image, Pixels, Volume

# Positions are written with few digits: half an in-plane pixel sideways and a tenth of a gap are rounding.
_DRIFT_PX = 0.5
_UNEVEN = 0.1
_SAME_PLACE = 0.01
_PARALLEL = 1e-3


@dataclass(frozen=True)
class _Slice:
    image: Image
    frame: PatientFrame


def read_series(paths: Sequence[Path], folder: Path, *, allow_uneven: bool = False) -> Volume:
    """Reads the slices of one series, in files or in the frames of one file, ordered along their normal.

    Args:
        paths: DICOM files of one series.
        folder: Names the series in errors.
        allow_uneven: Return slices that no regular grid holds in their order, knowing pixels only.

    Raises:
        UnreadableImage: More than one series; slices without position, of several sizes or orientations; and unless
            allowed, a tilted gantry, uneven spacing, missing slices, or several at one place.
    """
    slices = _slices(paths, folder)
    first = slices[0]
    for other in slices[1:]:
        _require_alike(folder, first, other)
    normal = np.asarray(first.frame.direction)[:, 2]
    slices.sort(key=lambda item: float(np.dot(normal, item.frame.origin_mm)))
    origins = np.asarray([item.frame.origin_mm for item in slices])
    fault = _fault(origins, normal, first.frame)
    if fault and not allow_uneven:
        raise UnreadableImage(f"{folder.name}: {fault}; allow_uneven=True reads it without geometry")
    geometry = ImageGeometry() if fault else ImageGeometry(_stacked(slices[0].frame, origins, normal))
    source = replace(first.image.source, sop_instance_uid="", frame_number=None)
    return Volume(_voxels(slices), geometry, _padding_value(slices), source)


def _slices(paths: Sequence[Path], folder: Path) -> list[_Slice]:
    slices: list[_Slice] = []
    series: set[str] = set()
    voxels = 0
    for path in paths:
        with reading(path), opened(path) as file:
            series.add(str(file.dataset.get("SeriesInstanceUID") or ""))
            if len(series) > 1:
                raise UnreadableImage(f"{folder.name} holds more than one series: give each a folder of its own")
            voxels += file.frames * file.integer("Rows") * file.integer("Columns")
            require_voxels(folder, voxels)
            for number in range(1, file.frames + 1):
                image = frame_image(file, number)
                if not isinstance(image.geometry.frame, PatientFrame):
                    raise file.unreadable("it has no position in the patient, so it is no slice of a volume")
                slices.append(_Slice(image, image.geometry.frame))
    if not slices:
        raise UnreadableImage(f"{folder.name} holds no DICOM image")
    return slices


def _require_alike(folder: Path, first: _Slice, other: _Slice) -> None:
    """Refuses slices of another size, orientation, pixel spacing or frame of reference."""
    if other.image.pixels.shape != first.image.pixels.shape:
        raise UnreadableImage(f"{folder.name}: slices of several sizes")
    if other.image.pixels.ndim != 2:
        raise UnreadableImage(f"{folder.name}: slices in colour make no volume")
    if not np.allclose(other.frame.direction, first.frame.direction, atol=_PARALLEL):
        raise UnreadableImage(f"{folder.name}: slices of several orientations, such as a scout among them")
    if not np.allclose(other.frame.spacing_mm[:2], first.frame.spacing_mm[:2], rtol=_PARALLEL):
        raise UnreadableImage(f"{folder.name}: slices of several pixel spacings")
    if other.frame.frame_of_reference_uid != first.frame.frame_of_reference_uid:
        raise UnreadableImage(f"{folder.name}: slices of several frames of reference")


def _fault(origins: NDArray[np.float64], normal: NDArray[np.float64], frame: PatientFrame) -> str:
    """Says why no regular grid holds the slices, or nothing."""
    if len(origins) == 1:
        return ""
    along = origins @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    same = int((gaps <= _SAME_PLACE * gaps.max()).sum())
    if same:
        return f"{same} of {len(origins)} slices lie where another does: several phases or echoes, or duplicates"
    sideways = np.linalg.norm(origins - origins[0] - np.outer(along - along[0], normal), axis=1)
    if sideways.max() > _DRIFT_PX * min(frame.spacing_mm[:2]):
        angle = np.degrees(np.arctan2(sideways.max(), along[sideways.argmax()] - along[0]))
        return f"the gantry was tilted by {angle:.1f} degrees"
    if gaps.max() > 1.5 * usual and np.allclose(gaps / usual, np.rint(gaps / usual), atol=_UNEVEN):
        return f"slices are missing: they are {usual:.3g} mm apart, in places {gaps.max():.3g} mm"
    regular = np.linspace(along[0], along[-1], len(along))
    if np.abs(along - regular).max() > _UNEVEN * usual:
        return f"slices are unevenly spaced, {gaps.min():.3g} to {gaps.max():.3g} mm apart"
    return ""


def _stacked(first: PatientFrame, origins: NDArray[np.float64], normal: NDArray[np.float64]) -> PatientFrame:
    """The volume's frame: the first slice's, with the distance of slices as third spacing."""
    if len(origins) == 1:
        return first
    distance = float((origins[-1] - origins[0]) @ normal) / (len(origins) - 1)
    return replace(first, spacing_mm=(*first.spacing_mm[:2], distance))


def _voxels(slices: Sequence[_Slice]) -> Pixels:
    """Slices of one type keep it; a mixture is int16 or uint16 where that holds all values, else float32."""
    arrays = [item.image.pixels for item in slices]
    kinds = {array.dtype for array in arrays}
    if len(kinds) == 1 or np.dtype(np.float32) in kinds:
        return np.stack(arrays, dtype=np.float32 if len(kinds) > 1 else None)
    low, high = (int(bound([bound(array) for array in arrays])) for bound in (np.min, np.max))
    fitting: list[Any] = [
        kind for kind in (np.int16, np.uint16) if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max
    ]
    return np.stack(arrays, dtype=(fitting or [np.float32])[0], casting="unsafe")


def _padding_value(slices: Sequence[_Slice]) -> float | None:
    """The padding value that all slices share."""
    values = {item.image.padding_value for item in slices}
    return values.pop() if len(values) == 1 else None
