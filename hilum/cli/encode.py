"""`hilum encode`: make the services know a study before anyone asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hilum.blocking_client import Client
from hilum.cli.console import describe, output, step_progress
from hilum.cli.options import GroupOption, ModelOption, PercentileOption, PresetOption, WindowOption
from hilum.cli.session import Session
from hilum.cli.study import ImageReference, Unreadable, files_of, images_of
from hilum.cli.values import chosen_mapping
from hilum.errors import HilumError
from hilum.planes import PlaneName
from hilum.segmentation import EncodeFailure, EncodeSuccess
from hilum.types import Image, IntensityMapping

# Images held in memory at a time; enough to keep the encoder busy.
_BATCH = 16


@dataclass
class Report:
    """What became of a folder's images.

    Attributes:
        encoded: Encoded now.
        known: Known before.
        failed: Names and reasons.
        passed_over: Files that are no images.
        not_tried: Images left when the service went away.
    """

    encoded: int = 0
    known: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    passed_over: int = 0
    not_tried: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the services know every image now."""
        return not self.failed and not self.not_tried


def encode(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", exists=True, file_okay=False, help="A study; folders in it are looked through, too."
        ),
    ],
    *,
    plane: Annotated[PlaneName, typer.Option(help="How NIfTI volumes are cut.")] = "axial",
    window: WindowOption = None,
    preset: PresetOption = None,
    percentile: PercentileOption = None,
    model: ModelOption = "",
    group: GroupOption = "",
) -> None:
    """Encode a study's images, so that the first prompt on each is answered at once.

    Every readable image and frame below FOLDER is encoded whole, unless the encoder knows it: a second run only looks.
    Later calls must use the same window and model. Exit code 1 when an image could not be encoded.
    """
    mapping = chosen_mapping(window, preset, percentile)
    report = Report()
    references = _references(folder, plane, report)
    with Session.of(context).client() as client, step_progress() as progress:
        task = progress.add_task("encoding", total=len(references))
        batch = _Batch(client, folder, mapping, model, group, report)
        for start in range(0, len(references), _BATCH):
            try:
                batch.encode(references[start : start + _BATCH], lambda: progress.advance(task))
            except HilumError as error:
                report.failed.append(("the encoder", describe(error)))
                report.not_tried = len(references) - start
                break
    _show(report)
    if not report.is_complete:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Batch:
    """Encodes a few images at a time into a report."""

    client: Client
    folder: Path
    mapping: IntensityMapping | None
    model: str
    group: str
    report: Report

    def encode(self, references: Sequence[ImageReference], advance: Callable[[], None]) -> None:
        """Reads images and encodes those that are not known.

        Args:
            references: The images.
            advance: Called once per image.

        Raises:
            HilumError: The service cannot be asked at all.
        """
        names, images = self._read(references, advance)
        missing = self.client.find_missing(images, mapping=self.mapping, model=self.model)
        self.report.known += len(images) - len(missing)
        for _ in range(len(images) - len(missing)):
            advance()

        def ended(_: EncodeSuccess | EncodeFailure) -> None:
            advance()

        chosen = [images[index] for index in missing]
        outcomes = self.client.encode_many(chosen, mapping=self.mapping, model=self.model, on_outcome=ended)
        for outcome in outcomes:
            if isinstance(outcome, EncodeFailure):
                self.report.failed.append((names[missing[outcome.index]], describe(outcome.error)))
            else:
                self.report.encoded += 1

    def _read(self, references: Sequence[ImageReference], advance: Callable[[], None]) -> tuple[list[str], list[Image]]:
        names: list[str] = []
        images: list[Image] = []
        for reference in references:
            name = reference.name(self.folder)
            try:
                images.append(replace(reference.read(), group=self.group))
                names.append(name)
            except HilumError as error:
                self.report.failed.append((name, _reason(reference.path, error)))
                advance()
        return names, images


def _references(folder: Path, plane: PlaneName, report: Report) -> list[ImageReference]:
    references: list[ImageReference] = []
    for path in files_of(folder):
        found = images_of(path, plane)
        if isinstance(found, Unreadable):
            report.failed.append((str(path.relative_to(folder)), _reason(path, found.error)))
        elif found:
            references += found
        else:
            report.passed_over += 1
    return references


def _reason(path: Path, error: HilumError) -> str:
    """Returns what is wrong with a file, without its name."""
    return describe(error).removeprefix(f"{path.name}: ")


def _show(report: Report) -> None:
    console = output()
    if report.failed:
        table = Table("not encoded", "reason", box=None)
        for name, reason in report.failed:
            table.add_row(name, reason)
        console.print(table, markup=False)
    words = [f"{report.encoded} encoded", f"{report.known} known before", f"{len(report.failed)} failed"]
    if report.not_tried:
        words.append(f"{report.not_tried} not tried (run it again: known images are not sent twice)")
    if report.passed_over:
        words.append(f"files passed over as no images: {report.passed_over}")
    console.print(", ".join(words), soft_wrap=True)
