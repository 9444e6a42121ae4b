"""DICOM lookup tables: modality tables and palettes. Source: PS3.3 C.11.1.1 and C.7.6.3.1.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut

from hilum.dicom.header import DicomFile

_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class LookupTable:
    """A table over consecutive stored values.

    Attributes:
        first: The stored value that the first entry maps.
        entries: (n,) or (n, 3) uint16.
    """

    first: int
    entries: NDArray[np.uint16]

    def values(self, stored: NDArray[Any]) -> NDArray[np.uint16]:
        """Returns the entries of stored values; values beyond the table take its ends."""
        index = stored.astype(np.int32)
        index -= self.first
        looked_up: NDArray[np.uint16] = self.entries[np.clip(index, 0, len(self.entries) - 1, out=index)]
        return looked_up


def lookup_table(file: DicomFile, descriptor: Sequence[int], data: bytes | Sequence[int]) -> LookupTable:
    """Returns the table of a LUT Descriptor and LUT Data, whether they came as bytes or as numbers.

    Raises:
        UnreadableImage: There are fewer entries than the descriptor says.
    """
    count, first = _span(file, descriptor)
    if isinstance(data, bytes):
        words = np.dtype(np.uint16).newbyteorder("<" if file.transfer_syntax.is_little_endian else ">")
        entries = np.frombuffer(data, dtype=np.uint8 if len(data) < 2 * count else words)
    else:
        entries = np.asarray(data)
    if entries.size < count:
        raise file.unreadable(f"its lookup table has {entries.size} of {count} entries")
    return LookupTable(first, entries[:count].astype(np.uint16))


def palette(file: DicomFile) -> LookupTable:
    """Returns the palette as a table of colours (n, 3), eight bits each."""
    header = file.dataset
    descriptors = [header.get(f"{colour}PaletteColorLookupTableDescriptor") for colour in _COLOURS]
    if not all(descriptor is not None and len(descriptor) == 3 for descriptor in descriptors):
        raise file.unreadable("it has palette colours but no palette")
    if "SegmentedRedPaletteColorLookupTableData" in header:
        count, first = _span(file, descriptors[0])
        colours = apply_color_lut(np.arange(first, first + count), header)[:, :3].astype(np.uint16)
    else:
        tables = [
            lookup_table(file, descriptor, header[f"{colour}PaletteColorLookupTableData"].value)
            for colour, descriptor in zip(_COLOURS, descriptors, strict=True)
        ]
        first, colours = tables[0].first, np.stack([table.entries for table in tables], axis=1)
    # Some files say sixteen bits and store eight: a palette that is black throughout otherwise.
    shift = 8 if colours.max() > np.iinfo(np.uint8).max else 0
    return LookupTable(first, colours >> np.uint16(shift))


def _span(file: DicomFile, descriptor: Sequence[int]) -> tuple[int, int]:
    """Number of entries, of which 0 means 65536, and the first mapped value, signed where the pixels are."""
    count, first = int(descriptor[0]), int(descriptor[1])
    if file.dataset.get("PixelRepresentation") == 1 and first >= 1 << 15:
        first -= 1 << 16
    return count or 1 << 16, first
