"""Small files that claim, or unpack to, far more than any image is; run as a program it reads them and says how."""

import gzip
import re
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from hilum import images
from hilum.errors import HilumError

HUGE = 60_000
_MIB = 2**20
# A parser that tries more than this is refused the memory, and the test.
_MAX_MEMORY_BYTES = 6 * 2**30
_MAX_CPU_S = 60


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png() -> bytes:
    """60000 x 60000 grey pixels, 3.6 GB, in a few megabytes."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", HUGE, HUGE, 8, 0, 0, 0, 0))
    squeezed = zlib.compressobj(9)
    data = squeezed.compress(bytes(64 * _MIB)) + squeezed.flush()
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def png_text() -> bytes:
    """One pixel, and a compressed text that unpacks to 128 MiB."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    squeezed = zlib.compressobj(9)
    text = b"".join(squeezed.compress(bytes(64 * _MIB)) for _ in range(2)) + squeezed.flush()
    pixels = _chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"zTXt", b"Comment\0\0" + text) + pixels + _chunk(b"IEND", b"")


def jpeg() -> bytes:
    """A frame header of 60000 x 60000 pixels, and nothing behind it."""
    frame = struct.pack(">BHHBBBB", 8, HUGE, HUGE, 1, 1, 0x11, 0)
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def bmp() -> bytes:
    """60000 x 60000 pixels, of which none is there."""
    info = struct.pack("<IiiHHIIiiII", 40, HUGE, HUGE, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def tiff() -> bytes:
    """60000 x 60000 pixels in one strip of a few bytes."""
    entries = [(256, 4, 1, HUGE), (257, 4, 1, HUGE), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    entries += [(277, 3, 1, 1), (278, 4, 1, HUGE), (279, 4, 1, 16)]
    return b"II*\0" + struct.pack("<I", 8) + _directory(entries, following=0)


def tiff_endless() -> bytes:
    """Pages without end: the directory's successor is itself."""
    entries = [(256, 4, 1, 2), (257, 4, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0)]
    entries += [(277, 3, 1, 1), (278, 4, 1, 2), (279, 4, 1, 4)]
    return b"II*\0" + struct.pack("<I", 8) + _directory(entries, following=8)


def _directory(entries: list[tuple[int, int, int, int]], *, following: int) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def _nifti(shape: tuple[int, int, int], offset: float = 352) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, offset)
    struct.pack_into("<f", header, 112, 1)
    header[344:348] = b"n+1\0"
    return bytes(header)


def nifti() -> bytes:
    """A volume of 30000 x 30000 x 30000 voxels of which none is there."""
    return _nifti((30_000, 30_000, 30_000))


def nifti_gz() -> bytes:
    """The same, compressed, with zeros behind it."""
    return gzip.compress(_nifti((30_000, 30_000, 30_000)) + bytes(64 * _MIB))


def nifti_gz_far() -> bytes:
    """One slice that begins a terabyte behind the header."""
    return gzip.compress(_nifti((8, 8, 1), offset=1e12) + bytes(64 * _MIB))


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    long = kind in {b"SQ", b"OB", b"OW", b"UN"}
    length = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + length + value


def _dicom(syntax: bytes, content: bytes) -> bytes:
    meta = _element(2, 0x10, b"UI", syntax + b"\0" * (len(syntax) % 2))
    return bytes(128) + b"DICM" + _element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + content


def _picture(rows: int, columns: int, frames: int = 1) -> bytes:
    def short(number: int, value: int) -> bytes:
        return _element(0x28, number, b"US", struct.pack("<H", value))

    count = str(frames).encode()
    return (
        short(2, 1)
        + _element(0x28, 4, b"CS", b"MONOCHROME2 ")
        + _element(0x28, 8, b"IS", count + b" " * (len(count) % 2))
        + short(0x10, rows)
        + short(0x11, columns)
        + short(0x100, 16)
        + short(0x101, 16)
        + short(0x102, 15)
        + short(0x103, 0)
    )


def dicom() -> bytes:
    """60000 x 60000 pixels, of which 16 bytes are there."""
    return _dicom(b"1.2.840.10008.1.2.1", _picture(HUGE, HUGE) + _element(0x7FE0, 0x10, b"OW", bytes(16)))


def dicom_frames() -> bytes:
    """Two thousand million frames of 8 x 8 pixels."""
    return _dicom(b"1.2.840.10008.1.2.1", _picture(8, 8, 2**31 - 1) + _element(0x7FE0, 0x10, b"OW", bytes(16)))


def dicom_rle() -> bytes:
    """60000 x 60000 pixels in run lengths."""
    fragment = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 512
    items = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(fragment)) + fragment
    pixels = struct.pack("<HH", 0x7FE0, 0x10) + b"OB\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return _dicom(b"1.2.840.10008.1.2.5", _picture(HUGE, HUGE) + pixels)


def dicom_deflated() -> bytes:
    """A deflated data set of 320 MiB of zeros."""
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = b"".join(squeezed.compress(bytes(64 * _MIB)) for _ in range(5)) + squeezed.flush()
    return _dicom(b"1.2.840.10008.1.2.1.99", content)


def dicom_deflated_items() -> bytes:
    """A deflated sequence of four million empty items."""
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    head = struct.pack("<HH", 0x5200, 0x9230) + b"SQ\0\0\xff\xff\xff\xff"
    parts = [squeezed.compress(head), *(squeezed.compress(item * (_MIB // 8)) for _ in range(32)), squeezed.flush()]
    return _dicom(b"1.2.840.10008.1.2.1.99", b"".join(parts))


def dicom_nested() -> bytes:
    """Sequences in sequences, a hundred thousand deep, of undefined length."""
    level = struct.pack("<HH", 0x5200, 0x9230) + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return _dicom(b"1.2.840.10008.1.2.1", level * 100_000)


BOMBS: dict[str, Callable[[], bytes]] = {
    made.__name__: made
    for made in (
        png,
        png_text,
        jpeg,
        bmp,
        tiff,
        tiff_endless,
        nifti,
        nifti_gz,
        nifti_gz_far,
        dicom,
        dicom_frames,
        dicom_rle,
        dicom_deflated,
        dicom_deflated_items,
        dicom_nested,
    )
}


def main() -> None:
    """Reads the files that the command line names under limits; prints a line for each, and the most memory in MiB."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    for path in map(Path, sys.argv[1:]):
        read = images.read_volume if path.name.startswith("nifti") else images.read_image
        try:
            read(path)
            outcome = "read"
        except HilumError as error:
            outcome = type(error).__name__
        sys.stdout.write(f"{path.name} {outcome}\n")
    # Not getrusage: a child begins with its parent's peak.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(f"{int(peak) // 1024}\n")


if __name__ == "__main__":
    main()
