"""The collection that teaches the default model clicks, and the one that tests it.

    python -m examples.click.collect [--out FOLDER] [--data ../shared/data]

Everything comes from wheels that pip brings and from sample data beside the checkout; what is absent is named and left
out. Splits are by patient: see docs/reference/lite-medsam-click.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.report import ROOT
from examples.click.brain_template import brain_template
from examples.click.drawn import drawn_lesions
from examples.click.pictures import photographs, stones, unlabelled
from examples.click.planted import planted_lesions
from examples.click.volumes import (
    ct_abdomen,
    ct_organs_2d,
    demo_volume,
    kidney_stone_volume,
    mr_abdomen,
    mr_prostate,
    mr_tumours,
)
from modeling.sample import Sample, write_collection

COLLECTION = user_cache_path("hilum") / "collections" / "click"
SHARED_DATA = ROOT.parent / "shared" / "data"
DRAWN = 90
PLANTED_COPIES = 3
TEMPLATE_COPIES = 2
FROM_WHEELS: tuple[Callable[[], Iterator[Sample]], ...] = (
    demo_volume,
    photographs,
    brain_template,
    lambda: planted_lesions(brain_template(), TEMPLATE_COPIES),
)
FROM_SHARED: tuple[Callable[[Path], Iterator[Sample]], ...] = (
    ct_organs_2d,
    ct_abdomen,
    kidney_stone_volume,
    stones,
    mr_abdomen,
    mr_tumours,
    mr_prostate,
    unlabelled,
    lambda data: planted_lesions(unlabelled(data), PLANTED_COPIES),
)


def collect(folder: Path, data: Path, console: Console) -> list[Sample]:
    """Write the collection, print what is in it, and return it."""
    sources: list[Callable[[], Iterator[Sample]]] = [*FROM_WHEELS, partial(drawn_lesions, DRAWN)]
    if data.is_dir():
        sources += [partial(source, data) for source in FROM_SHARED]
    else:
        console.print(f"{data} is absent: only what wheels bring is collected")
    samples = [sample for source in track(sources, "collecting", console=console) for sample in source()]
    write_collection(folder, samples)
    show(samples, console)
    return samples


def show(samples: list[Sample], console: Console) -> None:
    """Print a table of sources and splits."""
    table = Table("source", "modality", "split", "patients", "images", "targets")
    images = Counter((sample.source, sample.modality, sample.split) for sample in samples)
    for (source, modality, split), count in images.items():
        chosen = [sample for sample in samples if (sample.source, sample.split) == (source, split)]
        patients = len({sample.patient for sample in chosen})
        table.add_row(source, modality, split, str(patients), str(count), str(sum(len(s.targets) for s in chosen)))
    console.print(table)


def main() -> None:
    """Parse the command line and collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=COLLECTION, help="folder of the collection")
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of the sample data")
    options = parser.parse_args()
    collect(options.out, options.data, Console())


if __name__ == "__main__":
    main()
