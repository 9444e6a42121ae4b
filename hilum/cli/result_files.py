"""The files that `hilum segment` writes: what a name's ending stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from hilum.cli.console import show_error
from hilum.cli.options import checked_outputs
from hilum.errors import HilumError
from hilum.files import FileKind, file_kind, reading
from hilum.types import Image, IntensityMapping, Prediction, Prompt

_ENDINGS = (".png", ".nii", ".nii.gz", ".dcm", ".json")


@dataclass(frozen=True)
class Result:
    """A prediction with what it was made from.

    Attributes:
        source: The file that was read.
        image: The image.
        prompts: What was asked.
        labels: One per prompt, or none.
        mapping: The intensity mapping that was asked for; the image's own where None.
        prediction: What was answered.
    """

    source: Path
    image: Image
    prompts: Sequence[Prompt]
    labels: Sequence[str]
    mapping: IntensityMapping | None
    prediction: Prediction

    def write(self, path: Path) -> None:
        """Writes one file, of the kind that its name ends in.

        Raises:
            HilumError: This kind cannot hold the result; see hilum.results.
            OSError: The file cannot be written.
        """
        # Each kind brings libraries that take their time to load: only those that are needed.
        name = path.name.lower()
        if name.endswith(".png"):
            from hilum.results.png import write_png  # noqa: PLC0415  # as said above

            write_png(path, self.image, self.prediction, prompts=self.prompts, mapping=self.mapping)
        elif name.endswith(".json"):
            from hilum.results.report import write_report  # noqa: PLC0415  # as said above

            write_report(path, self.image, self.prediction, prompts=self.prompts, labels=self.labels)
        elif name.endswith(".dcm"):
            from hilum.results.segmentation import write_segmentation  # noqa: PLC0415  # as said above

            write_segmentation(path, [self.source], [self.prediction], labels=self.labels)
        else:
            from hilum.results.nifti import write_nifti  # noqa: PLC0415  # as said above

            write_nifti(path, self.image, self.prediction, labels=self.labels)


def checked_result_files(paths: Sequence[Path], source: Path) -> list[Path]:
    """Returns the paths; a usage error for one that cannot be written, before anything is sent.

    Raises:
        UnreadableImage: The source cannot be read.
    """
    found = checked_outputs(paths, _ENDINGS)
    if any(path.name.lower().endswith(".dcm") for path in found) and not _is_dicom_file(source):
        raise typer.BadParameter(
            f"a DICOM segmentation refers to a DICOM image, and {source.name} is none: name the slice's own file",
            param_hint="--out",
        )
    return found


def write_all(write: Callable[[Path], None], paths: Sequence[Path]) -> None:
    """Writes every file that can be written; ends with 1, after all, where one could not, which is told."""
    unwritten = [path for path in paths if not _is_written(write, path)]
    if unwritten:
        raise typer.Exit(1)


def _is_written(write: Callable[[Path], None], path: Path) -> bool:
    try:
        write(path)
    except (HilumError, OSError) as error:
        show_error(error)
        return False
    return True


def _is_dicom_file(source: Path) -> bool:
    if source.is_dir():
        return False
    with reading(source):
        return file_kind(source) is FileKind.DICOM
