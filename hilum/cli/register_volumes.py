"""`hilum register` of two volumes: DICOM series in folders, or NIfTI files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import typer

from hilum.blocking_client import Client
from hilum.cli.checkerboard import tiles
from hilum.cli.console import output, stage_progress
from hilum.cli.fuse import accepted_flags
from hilum.cli.modality import with_modality
from hilum.cli.options import checked_outputs
from hilum.cli.picture import write_planes
from hilum.cli.registration_options import ModelName
from hilum.cli.registration_report import flag_lines, volume_report
from hilum.cli.resampled_volume import ResampledVolume, resampled
from hilum.cli.result_files import write_all
from hilum.cli.session import Session
from hilum.cli.transform_files import ITK, JSON, NIFTI, TransformFiles
from hilum.cli.values import parse_mapping
from hilum.errors import InvalidArgument
from hilum.files import FileKind, file_kind, reading
from hilum.images import frame_count, read_volume
from hilum.intensity import grey_levels
from hilum.planes import PlaneName, plane_count, slice_volume
from hilum.registration_options import TransformModel
from hilum.transform import Transform
from hilum.transform_file import read_transform
from hilum.types import Image, IntensityMapping, Volume
from hilum.volume_registration import VolumeRegistrationOptions, VolumeRegistrationResult

_ENDINGS = (".png", *JSON, *ITK, *NIFTI)
_PLANES: tuple[PlaneName, ...] = ("axial", "coronal", "sagittal")


def is_volume(path: Path) -> bool:
    """Tells whether a path is a folder or a NIfTI file of several slices."""
    if path.is_dir():
        return True
    with reading(path):
        return file_kind(path) is FileKind.NIFTI and frame_count(path) > 1


def refuse_for_volumes(given: Mapping[str, object]) -> None:
    """Refuses options, by name, that were given and that only images have."""
    names = [name for name, value in given.items() if value]
    if names:
        raise typer.BadParameter("is for images; these are volumes", param_hint=names)


@dataclass(frozen=True, eq=False)
class VolumePair:
    """The two volumes.

    Attributes:
        fixed: The volume whose points the transform takes.
        moving: The volume that they are taken to.
    """

    fixed: Volume
    moving: Volume

    @classmethod
    def read(cls, fixed: Path, moving: Path, modalities: tuple[str, str]) -> VolumePair:
        """Reads both.

        Raises:
            UnreadableImage: A file or series cannot be read.
            typer.BadParameter: A modality is none, or not what the file says.
        """
        return cls(
            with_modality(read_volume(fixed), modalities[0], "--fixed-modality"),
            with_modality(read_volume(moving), modalities[1], "--moving-modality"),
        )

    def register(
        self, client: Client, *, model: ModelName, initial: Path | None, stiffness: float
    ) -> VolumeRegistrationResult:
        """Registers them, with progress.

        Raises:
            typer.BadParameter: An option cannot be followed.
            HilumError: What the service answered.
        """
        start = None if initial is None else read_transform(initial)
        options = VolumeRegistrationOptions(TransformModel[model.upper()], start, stiffness)
        try:
            options.check(self.fixed.voxels.shape, self.moving.voxels.shape)
        except InvalidArgument as error:
            hint = "--stiffness" if error.field == "stiffness" else "--initial"
            raise typer.BadParameter(error.message, param_hint=hint) from error
        with stage_progress("registering") as on_progress:
            return client.register_volumes(self.fixed, self.moving, options=options, on_progress=on_progress)


@dataclass(frozen=True)
class VolumeOutputs:
    """What is asked to be written, as the command line says it.

    Attributes:
        paths: Transforms and pictures.
        resampled: The moving volume on the fixed volume's grid; None for none.
        accept_flag: Quality flags.
        mappings: Grey levels of fixed and moving.
    """

    paths: Sequence[Path]
    resampled: Path | None
    accept_flag: Sequence[str]
    mappings: tuple[str | None, str | None]

    def of_registration(
        self, session: Session, pair: VolumePair, *, model: ModelName, initial: Path | None, stiffness: float
    ) -> None:
        """Registers, prints the report, and writes.

        Raises:
            typer.BadParameter: Something cannot be followed or written.
            HilumError: What the service answered.
        """
        checked_outputs(self.paths, _ENDINGS)
        if self.resampled is not None:
            checked_outputs([self.resampled], NIFTI)
        accepted = accepted_flags(list(self.accept_flag))
        fixed, moving = (parse_mapping(mapping) for mapping in self.mappings)
        with session.client() as client:
            result = pair.register(client, model=model, initial=initial, stiffness=stiffness)
        output().print(volume_report(result))
        VolumeFiles(pair, result.transform, (fixed, moving), accepted).write_all(self.paths, self.resampled)


@dataclass(frozen=True, eq=False)
class VolumeFiles:
    """What is written of a registration of volumes.

    Attributes:
        pair: The volumes.
        transform: Fixed to moving.
        mappings: Grey levels of the picture; the volumes' own where None.
        accepted_flags: Quality flags accepted by name; files other than .json and .png need all of them.
    """

    pair: VolumePair
    transform: Transform
    mappings: tuple[IntensityMapping | None, IntensityMapping | None]
    accepted_flags: Collection[str]

    @cached_property
    def _resampled(self) -> ResampledVolume:
        return resampled(self.pair.moving, self.transform)

    def write(self, path: Path) -> None:
        """Writes a picture or the transform, as the name ends.

        Raises:
            TransformFlagged: A flag is not accepted, and the file has no place for it.
            OSError: The file cannot be written.
        """
        if path.suffix.lower() == ".png":
            boards = [self._board(plane) for plane in _PLANES]
            words = ["axial, coronal, sagittal; tiles of both", *flag_lines(self.transform.flags)]
            write_planes(path, [board.pixels for board in boards], [board.geometry for board in boards], words)
        else:
            TransformFiles(accepted_flags=self.accepted_flags).write(path, self.transform)

    def write_all(self, paths: Sequence[Path], resampled_path: Path | None) -> None:
        """Writes every file that can be written; ends with 1, after all, where one could not, which is told."""
        resampled_paths = [] if resampled_path is None else [resampled_path]
        write_all(
            lambda path: self.write_resampled(path) if path in resampled_paths else self.write(path),
            [*paths, *resampled_paths],
        )

    def write_resampled(self, path: Path) -> None:
        """Writes the moving volume on the fixed volume's grid as NIfTI; its flags are noted in the header.

        Raises:
            TransformFlagged: A flag is not accepted.
            OSError: The file cannot be written.
        """
        from hilum.results.nifti import write_volume  # noqa: PLC0415  # brings a library that takes its time to load

        self.transform.require_accepted(self.accepted_flags)
        write_volume(path, self._resampled.volume, notes=self.transform.flags)

    def _board(self, plane: PlaneName) -> Image:
        """A checkerboard of the slices through the middle of the fixed volume."""
        fixed, moving = self.pair.fixed, self._resampled.volume
        index = plane_count(fixed, plane) // 2
        covered = Volume(self._resampled.coverage.astype(np.uint8), fixed.geometry)
        one, other, coverage = (slice_volume(volume, plane, index) for volume in (fixed, moving, covered))
        of_fixed, of_moving = self.mappings
        board = tiles(grey_levels(one, of_fixed), grey_levels(other, of_moving), coverage.pixels > 0)
        return Image(board, one.geometry)
