"""The images of a study's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hilum.errors import HilumError
from hilum.files import FileKind, file_kind, reading
from hilum.images import frame_count, read_image
from hilum.planes import PlaneName
from hilum.types import Image

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
_VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class ImageReference:
    """One image of a file.

    Attributes:
        path: The file.
        number: Frame or page from 1, slice of a volume from 0.
        count: How many images the file holds.
        plane: In which a volume is cut; None for other files.
    """

    path: Path
    number: int
    count: int
    plane: PlaneName | None

    def read(self) -> Image:
        """Reads the image; see `hilum.images.read_image`."""
        if self.plane is None:
            return read_image(self.path, frame=self.number)
        return read_image(self.path, plane=self.plane, index=self.number)

    def name(self, folder: Path) -> str:
        """Returns the file's name in a folder, and which of its images it is."""
        name = str(self.path.relative_to(folder))
        if self.count == 1:
            return name
        return f"{name} frame {self.number}" if self.plane is None else f"{name} {self.plane} {self.number}"


@dataclass(frozen=True)
class Unreadable:
    """A file that should hold images and does not."""

    path: Path
    error: HilumError


def files_of(folder: Path) -> list[Path]:
    """Returns all files below a folder, hidden ones and tables of contents left out, in order of their names."""
    below = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [folder / path for path in sorted(below) if path.name != "DICOMDIR" and not _is_hidden(path)]


def images_of(path: Path, plane: PlaneName) -> list[ImageReference] | Unreadable:
    """Returns the images of a file, none where it is no image: a text, or a DICOM object without pixels."""
    try:
        kind = _kind(path)
        if kind is None:
            return []
        count = frame_count(path, plane=plane)
    except HilumError as error:
        return Unreadable(path, error)
    if kind is FileKind.NIFTI:
        return [ImageReference(path, index, count, plane) for index in range(count)]
    return [ImageReference(path, frame, count, None) for frame in range(1, count + 1)]


def _kind(path: Path) -> FileKind | None:
    with reading(path):
        kind = file_kind(path)
        if kind is FileKind.PICTURE:
            return kind if path.suffix.lower() in _PICTURES else None
        if kind is FileKind.NIFTI:
            return kind if path.name.lower().endswith(_VOLUMES) else None
        return kind if _has_rows(path) else None


def _has_rows(path: Path) -> bool:
    """Reports, presentation states and plans are DICOM, too, but no images."""
    from hilum.dicom.header import opened  # noqa: PLC0415  # needs the extra `images`, which may be missing

    with opened(path) as file:
        return file.integer("Rows") > 0


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
