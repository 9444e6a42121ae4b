"""Decoding one frame to its stored values, with every limit checked first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from struct import unpack_from
from typing import Any

from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import JPEGExtended12Bit, JPEGLSTransferSyntaxes, RLELossless

from hilum.dicom.codestream import codestream
from hilum.dicom.header import PIXEL_KEYWORDS, DicomFile
from hilum.dicom.jpeg12 import RETIRED_JPEG, decode_jpeg12
from hilum.errors import InvalidField
from hilum.files import require_pixels

# What pydicom's plugin makes of GDCM's refusal.
_GDCM_WITHOUT_IMAGE = "'NoneType' object has no attribute 'encode'"


def stored_values(file: DicomFile, frame: int) -> NDArray[Any]:
    """Returns a frame as stored: (height, width), or (height, width, 3) in RGB.

    Args:
        file: Its stream stands at the pixel data, and does so again afterwards.
        frame: From 1.

    Raises:
        InvalidField: There is no such frame.
        UnreadableImage: There are no pixels, too many, fewer than the header says, or in a way that is not supported.
    """
    if not 1 <= frame <= file.frames:
        raise InvalidField(f"{file.path.name} has frames 1 to {file.frames}, not {frame}", field="frame")
    _require_supported(file)
    height, width = file.integer("Rows"), file.integer("Columns")
    start = file.stream.tell()
    element = _pixel_element(file)
    require_pixels(file.path, height, width)
    try:
        if file.transfer_syntax.is_encapsulated:
            values = _compressed(file, frame, height, width, element)
        else:
            _require_length(file, frame, height, width, element.length)
            values = _decoded(file, frame, element)
    finally:
        file.stream.seek(start)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class _PixelElement:
    """The pixel data's element: its keyword, value representation ("" in implicit files) and length in bytes."""

    keyword: str
    representation: str
    length: int


def _pixel_element(file: DicomFile) -> _PixelElement:
    """Reads the head of the pixel data; the stream then stands at the value. Source: PS3.5 7.1."""
    order = "<" if file.transfer_syntax.is_little_endian else ">"
    implicit = file.transfer_syntax.is_implicit_VR
    head = file.stream.read(8 if implicit else 12)
    if len(head) < (8 if implicit else 12):
        raise file.unreadable("it has no pixel data")
    group, number = unpack_from(f"{order}HH", head)
    (length,) = unpack_from(f"{order}I", head, 4 if implicit else 8)
    return _PixelElement(PIXEL_KEYWORDS[group << 16 | number], "" if implicit else head[4:6].decode("ascii"), length)


def _require_length(file: DicomFile, frame: int, height: int, width: int, length: int) -> None:
    """Refuses native pixel data that end before the frame does."""
    halved = file.dataset.get("PhotometricInterpretation") == "YBR_FULL_422"
    samples = 2 if halved else file.integer("SamplesPerPixel", 1)
    needed = -(-frame * height * width * samples * file.integer("BitsAllocated") // 8)
    start = file.stream.tell()
    present = min(length, file.stream.seek(0, os.SEEK_END) - start)
    file.stream.seek(start)
    if present < needed:
        raise file.unreadable(f"its pixel data end early: {present} of {needed} bytes")


def _compressed(file: DicomFile, frame: int, height: int, width: int, element: _PixelElement) -> NDArray[Any]:
    """Decodes a compressed frame whose own header agrees with the file's."""
    syntax = file.transfer_syntax
    data = get_frame(file.stream, frame - 1, number_of_frames=file.frames)
    own = codestream(data)
    if own is None and syntax != RLELossless:
        raise file.unreadable("its compressed frame has no header that can be read")
    if own is not None and (own.height, own.width) != (height, width):
        raise file.unreadable(f"its compressed frame is {own.height}x{own.width}, its header says {height}x{width}")
    if syntax in RETIRED_JPEG or (syntax == JPEGExtended12Bit and own is not None and own.precision == 12):
        if file.integer("SamplesPerPixel", 1) != 1:
            raise file.unreadable(f"its {syntax.name} frame is in colour, which is not supported")
        return decode_jpeg12(data, syntax, height, width)
    return _decoded(file, frame, element)


def _decoded(file: DicomFile, frame: int, element: _PixelElement) -> NDArray[Any]:
    """Decodes with pydicom, YBR to RGB."""
    # Eight-bit pixels in big-endian words are swapped, which only the value representation tells.
    options = as_pixel_options(file.dataset, pixel_keyword=element.keyword, pixel_vr=element.representation)
    try:
        decoder = get_decoder(file.transfer_syntax)
        values, _ = decoder.as_array(file.stream, index=frame - 1, decoding_plugin=_plugin(file), **options)
    except RuntimeError as error:  # every decoder failed; each says why on a line of its own
        reasons = " ".join(str(error).partition("plugins:")[2].split()) or str(error)
        reasons = reasons.replace(_GDCM_WITHOUT_IMAGE, "no image came out")
        raise file.unreadable(f"its {file.transfer_syntax.name} data cannot be decoded ({reasons})") from error
    return values


def _plugin(file: DicomFile) -> str:
    """GDCM alone for JPEG-LS, save depths it does not know: damaged frames can keep pyjpegls busy for half a minute."""
    odd_depth = file.integer("BitsStored") < 8
    return "gdcm" if file.transfer_syntax in JPEGLSTransferSyntaxes and not odd_depth else ""


def _require_supported(file: DicomFile) -> None:
    if file.integer("SamplesPerPixel", 1) not in (1, 3):
        raise file.unreadable(f"{file.integer('SamplesPerPixel')} samples per pixel; 1 or 3 are read")
    if file.transfer_syntax in RETIRED_JPEG:
        return
    try:
        get_decoder(file.transfer_syntax)
    except NotImplementedError as error:
        name = file.transfer_syntax.name
        raise file.unreadable(f"its transfer syntax is not supported ({name}): decompress it first") from error
