"""Stored grey values to the image's own units: modality transform, MONOCHROME1, padding and the file's window.

Source: DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI), C.7.5.1.1.2 (padding), C.7.6.3.1.2 (MONOCHROME1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.dicom.header import DicomFile, numbers
from hilum.dicom.lookup import LookupTable, lookup_table
from hilum.rescale import rescaled
from hilum.types import Pixels, Window


@dataclass(frozen=True)
class GreyScale:
    """How one frame's stored values become the image's own units.

    Attributes:
        stored_range: Least and largest value that Bits Stored allows.
        slope: Of the modality rescale, or DoseGridScaling.
        intercept: Of the modality rescale.
        table: Modality LUT, which stands in for slope and intercept.
        inverted: True for MONOCHROME1: the least value is shown white.
    """

    stored_range: tuple[int, int]
    slope: float = 1
    intercept: float = 0
    table: LookupTable | None = None
    inverted: bool = False

    def values(self, stored: NDArray[Any]) -> Pixels:
        """Returns the values in the image's units, inverted so that higher is always brighter."""
        low, high = self.stored_range
        slope, intercept = self.slope, self.intercept
        if self.table is not None:
            stored, slope, intercept = self.table.values(stored), 1, 0
            low, high = int(self.table.entries.min()), int(self.table.entries.max())
        if self.inverted:
            # a(low + high - v) + b: the range turned over within itself.
            slope, intercept = -slope, slope * (low + high) + intercept
        return rescaled(stored, slope, intercept, (low, high))

    def window(self, window: Window) -> Window:
        """Returns a window of the rescaled values as one of the inverted values."""
        if not self.inverted:
            return window
        ends = self.values(np.asarray(self.stored_range, dtype=np.int64))
        return Window(float(ends[0]) + float(ends[1]) - window.center, window.width)


def grey_scale(file: DicomFile, frame: int) -> GreyScale:
    """Reads the transform of a frame (from 1)."""
    header = file.dataset
    bits = int(header.get("BitsStored") or header.get("BitsAllocated") or 16)
    signed = header.get("PixelRepresentation") == 1
    stored_range = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    tables = header.get("ModalityLUTSequence")
    if tables:
        table = lookup_table(file, tables[0].LUTDescriptor, tables[0].LUTData)
        return GreyScale(stored_range, table=table, inverted=inverted)
    if header.get("Modality") == "RTDOSE" and "DoseGridScaling" in header:
        return GreyScale(stored_range, float(header.DoseGridScaling), inverted=inverted)
    group = file.functional_group("PixelValueTransformationSequence", frame)
    if group.get("RescaleSlope") is None or group.get("RescaleIntercept") is None:
        return GreyScale(stored_range, inverted=inverted)
    return GreyScale(stored_range, float(group.RescaleSlope), float(group.RescaleIntercept), inverted=inverted)


def padding(file: DicomFile, stored: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
    """Returns the stored values with a range of padding values made one, and that value or None."""
    value, limit = (_stored_number(file, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None or not np.issubdtype(stored.dtype, np.integer):
        return stored, None
    bounds = np.iinfo(stored.dtype)
    if not bounds.min <= value <= bounds.max:
        return stored, None
    if limit is not None and limit != value:
        within = (stored >= min(value, limit)) & (stored <= max(value, limit))
        stored = np.where(within, stored.dtype.type(value), stored)
    return stored, value


def file_window(file: DicomFile, frame: int) -> Window | None:
    """Returns the first window of a frame as DICOM's LINEAR_EXACT, or None.

    LINEAR (the default) with centre c and width w is LINEAR_EXACT with c - .5 and w - 1; SIGMOID is replaced by the
    line of the same slope in its centre.
    """
    group = file.functional_group("FrameVOILUTSequence", frame)
    centers, widths = numbers(group, "WindowCenter"), numbers(group, "WindowWidth")
    if not centers or not widths or not np.isfinite([centers[0], widths[0]]).all():
        return None
    center, width = centers[0], widths[0]
    if (group.get("VOILUTFunction") or "LINEAR") == "LINEAR":
        center, width = center - 0.5, width - 1
    return Window(center, width) if width > 0 else None


def _stored_number(file: DicomFile, keyword: str) -> int | None:
    """A value in stored units; signed ones are often written as if they were unsigned."""
    found = numbers(file.dataset, keyword, 1)
    if found is None:
        return None
    value, bits = int(found[0]), int(file.dataset.get("BitsAllocated") or 16)
    signed = file.dataset.get("PixelRepresentation") == 1
    return value - (1 << bits) if signed and value >= 1 << bits - 1 else value
