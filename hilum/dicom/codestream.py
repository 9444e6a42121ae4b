"""What a compressed frame says of itself, read before anything is decoded.

Sources: JPEG, ISO/IEC 10918-1 B.2.2 (frame header); JPEG-LS, ISO/IEC 14495-1 C.2.2; JPEG 2000, ISO/IEC 15444-1 A.5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from

# Start-of-frame markers: SOF0..SOF15 without DHT, JPG and DAC, and JPEG-LS's SOF55.
_START_OF_FRAME = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG = b"\xff\xd8"
# Boxes of a JP2 file may come before its codestream, a colour profile among them.
_LONGEST_BOXES = 1 << 16


@dataclass(frozen=True)
class Codestream:
    """Size in pixels and bits of a sample."""

    height: int
    width: int
    precision: int


def codestream(frame: bytes) -> Codestream | None:
    """Returns what the frame's own header says, or None where it is of another kind, damaged or too short."""
    if frame.startswith(_JPEG):
        return _jpeg(frame)
    start = frame.find(_JPEG_2000, 0, _LONGEST_BOXES)
    if start < 0 or len(frame) < start + 43:
        return None
    width, height, left, top = unpack_from(">IIII", frame, start + 8)
    return Codestream(height - top, width - left, (frame[start + 42] & 0x7F) + 1)


def _jpeg(frame: bytes) -> Codestream | None:
    position = len(_JPEG)
    while position + 9 <= len(frame):
        if frame[position] != 0xFF:
            return None
        if frame[position + 1] == 0xFF:  # fill bytes may precede a marker
            position += 1
            continue
        if frame[position + 1] in _START_OF_FRAME:
            precision, height, width = unpack_from(">BHH", frame, position + 4)
            return Codestream(height, width, precision)
        position += 2 + unpack_from(">H", frame, position + 2)[0]
    return None
