"""Opening a DICOM file: its header, and a stream that stands at the pixel data.

Only the attributes named here are parsed, so that no patient data is ever held, logged or warned about.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from hilum.dicom.bounded import BoundedReader
from hilum.errors import UnreadableImage

PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
# A deflated file of a few kilobytes can hold gigabytes of zeros.
_MAX_INFLATED_BYTES = 1 << 28

_KEYWORDS = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality"),
    *("Laterality", "ImageLaterality", "FrameOfReferenceUID"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPresentation"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "DoseGridScaling"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "GridFrameOffsetVector"),
    *("ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor", "PixelSpacingCalibrationType"),
    "SequenceOfUltrasoundRegions",
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True)
class DicomFile:
    """An open DICOM file.

    Attributes:
        path: Where it lies.
        dataset: Attributes that Hilum uses, without pixel data.
        transfer_syntax: How the pixel data are encoded.
        stream: Stands at the tag of the pixel data, or at the end where there are none.
    """

    path: Path
    dataset: Dataset
    transfer_syntax: UID
    stream: BinaryIO

    @property
    def frames(self) -> int:
        """Number of Frames (0028,0008); 1 where absent."""
        return max(self.integer("NumberOfFrames", 1), 1)

    def integer(self, keyword: str, default: int = 0) -> int:
        """Returns a whole number of the header; the default where it is absent or empty.

        Raises:
            UnreadableImage: It is no number.
        """
        try:
            return int(self.dataset.get(keyword) or default)
        except (TypeError, ValueError) as error:
            raise self.unreadable(f"{keyword} is no number") from error

    def functional_group(self, sequence: str, frame: int) -> Dataset:
        """Returns a functional group's item for a frame (from 1): per frame, else shared, else the dataset itself."""
        per_frame = self.dataset.get("PerFrameFunctionalGroupsSequence") or ()
        shared = self.dataset.get("SharedFunctionalGroupsSequence") or ()
        for groups in (*per_frame[frame - 1 : frame], *shared[:1]):
            items = groups.get(sequence)
            if items:
                item: Dataset = items[0]
                return item
        return self.dataset

    def unreadable(self, reason: str) -> UnreadableImage:
        """Returns the error that names this file and a reason."""
        return UnreadableImage(f"{self.path.name}: {reason}")


@contextmanager
def opened(path: Path) -> Iterator[DicomFile]:
    """Opens a file for the time of the block.

    Raises:
        UnreadableImage: The file inflates to more than any image needs. What else the parser raises passes through.
    """
    with path.open("rb") as stream:
        read_preamble(stream, force=True)
        meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2))
        if "TransferSyntaxUID" in meta:
            syntax = UID(meta.TransferSyntaxUID)
        else:
            syntax = _guessed_syntax(stream)
            meta.TransferSyntaxUID = syntax
        content = _inflated(path, stream) if syntax == DeflatedExplicitVRLittleEndian else stream
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        dataset = read_dataset(
            cast("BinaryIO", BoundedReader(path, content)),
            implicit,
            little,
            stop_when=lambda tag, _vr, _length: tag in PIXEL_KEYWORDS,
            specific_tags=[tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None],
        )
        dataset.file_meta = meta
        dataset.set_original_encoding(implicit, little)
        yield DicomFile(path, dataset, syntax, content)


def _guessed_syntax(stream: BinaryIO) -> UID:
    """A file without meta information is implicit, unless its first element spells a value representation."""
    start = stream.tell()
    element = stream.read(6)
    stream.seek(start)
    return ExplicitVRLittleEndian if element[4:].isalpha() and element[4:].isupper() else ImplicitVRLittleEndian


def _inflated(path: Path, stream: BinaryIO) -> BytesIO:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(stream.read(), _MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise UnreadableImage(f"{path.name}: it inflates to more than {_MAX_INFLATED_BYTES >> 20} MiB")
    return BytesIO(content)


def numbers(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Returns an attribute's numbers, or None where it is absent, malformed or has another count."""
    try:
        value = dataset.get(keyword)
        values = value if isinstance(value, list | tuple) or hasattr(value, "__iter__") else [value]
        found = tuple(float(number) for number in values)
    except (TypeError, ValueError):
        return None
    return found if found and count in (None, len(found)) else None
