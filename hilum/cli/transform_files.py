"""Transforms in files of every kind: what a name's ending stands for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import typer

from hilum.cli.image_grids import NamedImage
from hilum.transform import Transform
from hilum.transform_file import read_transform, write_transform
from hilum.transform_itk import read_itk_transform, write_itk_transform

IntentName: TypeAlias = Literal["vector", "dispvect"]

JSON, ITK, NIFTI, DICOM = (".json",), (".tfm", ".txt"), (".nii", ".nii.gz"), (".dcm",)
ENDINGS = (*JSON, *ITK, *NIFTI, *DICOM)
# Formats of ITK that hold the same transforms, but need a library of their own.
_BINARY = (".h5", ".hdf5", ".mat", ".xfm")


@dataclass(frozen=True)
class TransformFiles:
    """The two images of a transform, as far as the command line names them, and how files are written.

    Attributes:
        fixed: The fixed image; formats other than JSON need it to be read.
        moving: The moving image; likewise.
        accepted_flags: Quality flags accepted by name.
        in_plane: Of slices: write ITK and NIfTI files in two dimensions.
        intent: Of NIfTI files.
    """

    fixed: NamedImage | None = None
    moving: NamedImage | None = None
    accepted_flags: Collection[str] = ()
    in_plane: bool = False
    intent: IntentName = "vector"

    def read(self, path: Path) -> Transform:
        """Reads a transform.

        Raises:
            typer.BadParameter: The images are needed and not named.
            HilumError: As the format's reader.
        """
        name = path.name.lower()
        if name.endswith(JSON):
            return read_transform(path)
        fixed, moving = (image.grid() for image in self._images(path))
        if name.endswith(ITK):
            return read_itk_transform(path, fixed, moving)
        # These bring libraries that take their time to load.
        if name.endswith(NIFTI):
            from hilum.transform_nifti import read_nifti_transform  # noqa: PLC0415  # as said above

            return read_nifti_transform(path, fixed, moving)
        from hilum.dicom.registration import read_registration  # noqa: PLC0415  # as said above

        return read_registration(path, fixed, moving)

    def write(self, path: Path, transform: Transform) -> None:
        """Writes a transform.

        Raises:
            typer.BadParameter: The images are needed and not named.
            HilumError: As the format's writer.
            OSError: The file cannot be written.
        """
        name = path.name.lower()
        flags = self.accepted_flags
        if name.endswith(JSON):
            write_transform(path, transform)
        elif name.endswith(ITK):
            write_itk_transform(path, transform, accepted_flags=flags, in_plane=self.in_plane)
        elif name.endswith(NIFTI):
            from hilum.transform_nifti import write_nifti_transform  # noqa: PLC0415  # as said above

            write_nifti_transform(path, transform, intent=self.intent, accepted_flags=flags, in_plane=self.in_plane)
        else:
            self._write_registration(path, transform)

    def _write_registration(self, path: Path, transform: Transform) -> None:
        from hilum.dicom.registration import write_registration  # noqa: PLC0415  # as said above

        fixed, moving = self._images(path)
        write_registration(
            path,
            transform,
            fixed.dicom_files(),
            moving.dicom_files(),
            fixed_frame=fixed.frame,
            moving_frame=moving.frame,
            accepted_flags=self.accepted_flags,
        )

    def _images(self, path: Path) -> tuple[NamedImage, NamedImage]:
        if self.fixed is None or self.moving is None:
            raise typer.BadParameter(
                f"{path.name} says nothing about the images' pixels: name both", param_hint=["--fixed", "--moving"]
            )
        return self.fixed, self.moving


def checked_ending(path: Path, hint: str) -> Path:
    """Returns the path; a usage error for a name whose ending stands for no format of transforms."""
    name = path.name.lower()
    if name.endswith(_BINARY):
        raise typer.BadParameter(
            f"{path.name}: of ITK's formats the text one is known: SimpleITK's WriteTransform makes a .tfm of what its "
            "ReadTransform has read",
            param_hint=hint,
        )
    if not name.endswith(ENDINGS):
        raise typer.BadParameter(f"{path.name}: give a name that ends in {', '.join(ENDINGS)}", param_hint=hint)
    return path
