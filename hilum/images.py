"""Reading image files: DICOM, NIfTI, PNG, JPEG, TIFF and BMP, told apart by their content.

Files are read here, at the edge; services receive pixels and geometry. Needs the extra `images`, whose libraries are
imported on the first call.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from hilum.files import FileKind, file_kind, reading
from hilum.planes import PlaneName
from hilum.types import Image, Volume


class _Reader(Protocol):
    """What the module of a format offers."""

    def read_image(self, path: Path, frame: int | None, plane: PlaneName | None, index: int | None) -> Image: ...

    def read_volume(self, path: Path, allow_uneven: bool) -> Volume: ...

    def frame_count(self, path: Path, plane: PlaneName) -> int: ...


def read_image(
    path: str | os.PathLike[str], *, frame: int | None = None, plane: PlaneName | None = None, index: int | None = None
) -> Image:
    """Reads one two-dimensional image.

    Pixels come after modality rescale and MONOCHROME1 inversion, before any window: uint8, uint16 or int16 where that
    holds them exactly, else float32. Colour is RGB uint8; deeper colour keeps its upper eight bits.

    Args:
        path: A file of any name.
        frame: DICOM frame or TIFF page, from 1; needed where there are several.
        plane: Of a NIfTI volume: "axial" (the default), "coronal" or "sagittal", hung as radiologists do: the patient's
            right on the left of axial and coronal pictures, anterior up or left, head up.
        index: Slice of a NIfTI volume, from 0, from inferior, anterior or right; needed where there are several.

    Raises:
        UnreadableImage: The file cannot be read as an image; the message names the reason.
        InvalidField: A frame, plane or index is missing, does not exist, or does not apply to this kind of file.
    """
    file = Path(path)
    with reading(file):
        return _reader(file_kind(file)).read_image(file, frame, plane, index)


def read_volume(path: str | os.PathLike[str], *, allow_uneven: bool = False) -> Volume:
    """Reads a volume: a folder with one DICOM series, a multi-frame DICOM file, or a NIfTI file.

    DICOM slices keep their own rows and columns and are ordered along their normal by Image Position (Patient). NIfTI
    volumes are turned to axial slices from inferior, rows from anterior, columns from the patient's right.

    Args:
        path: File or folder; files of other kinds in a folder are passed over.
        allow_uneven: Return slices that no regular grid holds all the same, in order, knowing pixels only.

    Raises:
        UnreadableImage: More than one series, slices without position or of several kinds, and unless allowed a tilted
            gantry, uneven spacing, missing slices or several at one place; or files that cannot be read.
    """
    source = Path(path)
    with reading(source):
        kind = FileKind.DICOM if source.is_dir() else file_kind(source)
        return _reader(kind).read_volume(source, allow_uneven)


def frame_count(path: str | os.PathLike[str], *, plane: PlaneName = "axial") -> int:
    """Returns how many images a file holds: DICOM frames, TIFF pages, or a NIfTI volume's slices in a plane.

    Raises:
        UnreadableImage: The file cannot be read.
    """
    file = Path(path)
    with reading(file):
        return _reader(file_kind(file)).frame_count(file, plane)


def _reader(kind: FileKind) -> _Reader:
    """The format's module, imported on first use: its libraries are an extra, and take their time."""
    if kind is FileKind.DICOM:
        from hilum import dicom  # noqa: PLC0415  # as said above

        return dicom
    if kind is FileKind.NIFTI:
        from hilum import nifti  # noqa: PLC0415  # as said above

        return nifti
    from hilum import pictures  # noqa: PLC0415  # as said above

    return pictures
