"""What reading a file of any format shares: its kind, limits checked before decoding, and one sort of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from hilum.errors import HilumError, InvalidField, UnreadableImage

# A 16-bit image of this size fills one 64 MiB message; the largest mammograms have 28 million pixels.
MAX_PIXELS = 1 << 25
# 1024 slices of 512x512.
MAX_VOXELS = 1 << 28

_DICOM_PREFIX, _DICOM_PREFIX_AT = b"DICM", 128
# A DICOM file without preamble starts with an element of group 0002 or 0008, in either byte order.
_DICOM_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
_NIFTI_MAGIC = ((344, b"n+1\0"), (4, b"n+2\0"))
GZIP_MAGIC = b"\x1f\x8b"
_HEAD_BYTES = 352
_LONGEST_REASON = 300


class FileKind(Enum):
    """What a file's first bytes say it is; a picture is whatever is nothing else."""

    DICOM = "dicom"
    NIFTI = "nifti"
    PICTURE = "picture"


def file_kind(path: Path) -> FileKind:
    """Tells files apart by content, not by name.

    Raises:
        UnreadableImage: It is a folder, or empty.
    """
    if path.is_dir():
        raise UnreadableImage(f"{path.name} is a folder: read a series with read_volume")
    head = file_head(path)
    if not head:
        raise UnreadableImage(f"{path.name}: it is empty")
    if head.startswith(_DICOM_PREFIX, _DICOM_PREFIX_AT):
        return FileKind.DICOM
    if head.startswith(GZIP_MAGIC) or any(head.startswith(magic, start) for start, magic in _NIFTI_MAGIC):
        return FileKind.NIFTI
    return FileKind.DICOM if head.startswith(_DICOM_GROUPS) else FileKind.PICTURE


def file_head(path: Path) -> bytes:
    """Returns the first bytes of a file."""
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a parser raises into UnreadableImage, whose message names the file and the reason."""
    try:
        yield
    except HilumError:
        raise
    except ModuleNotFoundError as error:
        raise UnreadableImage(f'{path.name}: needs {error.name}: pip install "hilum[images]"') from error
    except OSError as error:
        raise UnreadableImage(f"{path.name}: {error.strerror or _one_line(error, path)}") from error
    except Exception as error:  # parsers of damaged files raise anything
        raise UnreadableImage(f"{path.name}: {_one_line(error, path)}") from error


def require_pixels(path: Path, height: int, width: int) -> None:
    """Refuses an image without pixels, or with more than MAX_PIXELS."""
    if height < 1 or width < 1:
        raise UnreadableImage(f"{path.name}: it has no pixels ({height}x{width})")
    if height * width > MAX_PIXELS:
        raise UnreadableImage(f"{path.name}: {height}x{width} pixels, at most {MAX_PIXELS} are read")


def require_voxels(path: Path, voxels: int) -> None:
    """Refuses a volume with more than MAX_VOXELS."""
    if voxels > MAX_VOXELS:
        raise UnreadableImage(f"{path.name}: {voxels} voxels, at most {MAX_VOXELS} are read; read a part of it")


def refuse_option(path: Path, field: str, value: object, reason: str) -> None:
    """Refuses an argument that does not apply to this kind of file."""
    if value is not None:
        raise InvalidField(f"it does not apply to {path.name}: {reason}", field=field)


def _one_line(error: Exception, path: Path) -> str:
    # Folders are named after patients often enough.
    text = " ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
