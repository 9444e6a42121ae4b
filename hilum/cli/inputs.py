"""Which image of a file or folder a command works on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hilum.errors import InvalidField
from hilum.files import refuse_option
from hilum.images import read_image, read_volume
from hilum.planes import PlaneName, slice_volume
from hilum.types import Image


def read_input(
    path: Path,
    *,
    frame: int | None = None,
    plane: PlaneName | None = None,
    index: int | None = None,
    group: str = "",
) -> Image:
    """Reads the image that the options name; a folder is a DICOM series, cut as a volume is.

    Args:
        path: A file, or a folder with one DICOM series.
        frame: DICOM frame or TIFF page, from 1.
        plane: Of a volume: axial where None.
        index: Slice of a volume, from 0.
        group: What the image belongs to; see Image.

    Raises:
        UnreadableImage: The file or series cannot be read.
        InvalidField: An option is missing, out of range, or does not apply.
        FrameNotSupported: The volume cannot be cut.
    """
    if not path.is_dir():
        return replace(read_image(path, frame=frame, plane=plane, index=index), group=group)
    refuse_option(path, "frame", frame, "a series has a plane and an index")
    if index is None:
        raise InvalidField(f"{path.name} is a folder: name a slice, from 0", field="index")
    return replace(slice_volume(read_volume(path), plane or "axial", index), group=group)
