"""Reading DICOM at the edge, so that services see pixels and geometry only. Needs the extra `images`."""

from __future__ import annotations

from pathlib import Path

from hilum.dicom.frame import frame_image
from hilum.dicom.header import opened
from hilum.dicom.series import read_series
from hilum.errors import InvalidField
from hilum.files import FileKind, file_kind, refuse_option
from hilum.planes import PlaneName
from hilum.types import Image, Volume


def read_image(path: Path, frame: int | None, plane: PlaneName | None, index: int | None) -> Image:
    """Reads a frame.

    Args:
        path: A DICOM file.
        frame: From 1; needed where there are several.
        plane: Refused: planes are cut from volumes.
        index: Refused.

    Raises:
        InvalidField: No frame was named where there are several, or there is no such frame.
        UnreadableImage: The file has no pixels, too many, or they cannot be decoded.
    """
    refuse_option(path, "plane", plane, "read the series with read_volume and cut it with slice_volume")
    refuse_option(path, "index", index, "DICOM frames are numbered from 1: use frame")
    with opened(path) as file:
        if frame is None and file.frames > 1:
            raise InvalidField(f"{path.name} has {file.frames} frames: name one, from 1", field="frame")
        return frame_image(file, 1 if frame is None else frame)


def read_volume(path: Path, allow_uneven: bool) -> Volume:
    """Reads a file's frames, or a folder's files, as one volume; see `read_series`."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return read_series([file for file in files if _is_image_file(file)], path, allow_uneven=allow_uneven)


def frame_count(path: Path, plane: PlaneName) -> int:
    """Returns how many frames a file holds, the same for every plane."""
    del plane
    with opened(path) as file:
        return file.frames


def _is_image_file(path: Path) -> bool:
    """A DICOM file that is no folder's table of contents."""
    return path.is_file() and path.name != "DICOMDIR" and path.stat().st_size > 0 and file_kind(path) is FileKind.DICOM
