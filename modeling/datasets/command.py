"""The command `collect`: what was asked for, read and checked, and the table of what was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from hilum.cli.values import parse_mapping
from hilum.errors import InvalidField
from modeling.datasets.collecting import collect, read_splits
from modeling.datasets.label_values import read_names
from modeling.datasets.opening import DESCRIPTIONS, Kind, open_dataset, recognise
from modeling.sample import Split


@dataclass(frozen=True)
class Request:
    """The command's arguments.

    Attributes:
        source: The data set.
        target: Folder of the collection.
        kind: Layout of the data set.
        options: Of its reader, None where not given.
        window: How values become grey levels, as text; None for the image's own.
        labels: JSON file of names of label values.
        split: Of all images.
        split_file: JSON file of splits by patient.
    """

    source: Path
    target: Path
    kind: Kind | Literal["auto"]
    options: Mapping[str, Any]
    window: str | None
    labels: Path | None
    split: Split | None
    split_file: Path | None


def run(request: Request, console: Console) -> None:
    """Writes the collection and prints its contents.

    Raises:
        InvalidField: Two options exclude each other, or one does not apply.
        CollectionError: What `open_dataset`, `read_splits`, `read_names` and `collect` raise.
        UnreadableImage: A file cannot be read.
    """
    if request.split and request.split_file:
        raise InvalidField("give one split for all, or a file of splits by patient", field="split")
    splits = read_splits(request.split_file) if request.split_file else request.split
    names = read_names(request.labels) if request.labels else None
    given = {**request.options, "mapping": parse_mapping(request.window), "names": names}
    kind = recognise(request.source) if request.kind == "auto" else request.kind
    console.print(f"{request.source}: {DESCRIPTIONS[kind]}", soft_wrap=True)
    options: Any = {option: value for option, value in given.items() if value is not None}
    written = collect(open_dataset(request.source, kind, **options), request.target, splits)
    table = Table("source", "modality", "split", "patients", "images", "targets")
    for (source, modality, split), contents in sorted(written.items()):
        counts = (len(contents.patients), contents.images, contents.targets)
        table.add_row(source, modality, split, *map(str, counts))
    console.print(table)
    console.print(f"written to {request.target}", soft_wrap=True)
