"""Size and place of the images that a transform relates, from their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hilum.cli.inputs import read_input
from hilum.errors import InvalidField
from hilum.files import FileKind, file_kind, reading
from hilum.image_grid import ImageGrid
from hilum.images import frame_count, read_volume
from hilum.planes import PlaneName


@dataclass(frozen=True)
class NamedImage:
    """An image as the command line names it: a file or folder, and which image of it.

    Attributes:
        path: A file, or a folder with one DICOM series.
        frame: DICOM frame, from 1.
        plane: Of a volume.
        index: Slice of a volume, from 0.
    """

    path: Path
    frame: int | None = None
    plane: PlaneName | None = None
    index: int | None = None

    @property
    def is_volume(self) -> bool:
        """Whether all of it is meant: it holds several slices, and no option names one.

        Raises:
            UnreadableImage: It cannot be read.
        """
        if (self.frame, self.plane, self.index) != (None, None, None):
            return False
        if self.path.is_dir():
            return True
        with reading(self.path):
            return file_kind(self.path) is not FileKind.PICTURE and frame_count(self.path) > 1

    def grid(self) -> ImageGrid:
        """Reads its size and geometry.

        Raises:
            HilumError: As `read_volume` and `read_input`.
        """
        if self.is_volume:
            volume = read_volume(self.path)
            return ImageGrid(tuple(int(count) for count in volume.voxels.shape), volume.geometry)
        image = read_input(self.path, frame=self.frame, plane=self.plane, index=self.index)
        return ImageGrid(image.size, image.geometry)

    def dicom_files(self) -> list[Path]:
        """Returns the DICOM files that it is made of.

        Raises:
            InvalidField: It is no DICOM image, or a cut through several, to which no registration can refer.
        """
        if self.plane is not None or self.index is not None:
            raise InvalidField(
                f"a slice of {self.path.name} is cut here: name the slice's own file, or the whole series",
                field="index",
            )
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        found = [file for file in files if _is_dicom(file)]
        if not found:
            raise InvalidField(
                f"{self.path.name} holds no DICOM image, to which a registration could refer", field="out"
            )
        return found


def _is_dicom(path: Path) -> bool:
    if not path.is_file() or path.name == "DICOMDIR" or not path.stat().st_size:
        return False
    with reading(path):
        return file_kind(path) is FileKind.DICOM
