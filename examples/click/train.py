"""Makes lite-medsam-click: collects, prepares, trains on a GPU, and writes what the repository ships.

    python -m examples.click.train [--threads 2] [--device cuda]
    python -m examples.click.train --pack FILE

With a GPU it takes ten minutes, and half an hour of preparing. With --pack it prepares only, and writes what
`python -m examples.click.learn FILE` then trains on another machine. With --device cpu it trains another, weaker model,
the encoder frozen, in an hour or two. An interrupted run goes on where it was. Writes
modeling/weights/lite-medsam-click.safetensors and .json, from which `python -m modeling install lite-medsam-click`
makes the bundle; `python -m examples.click.calibrate` follows.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from examples.click.collect import COLLECTION, SHARED_DATA, collect
from examples.click.learn import WORK, drawn_anew, learn
from examples.click.pack import pack
from examples.click.recipe import BASE, NAME, ON_PROCESSOR, PREPARATION, RECIPES
from hilum.serving.bundle import find_bundle
from modeling.finetune import Job, lineage, run
from modeling.finetuning import StepReport
from modeling.models import load_model
from modeling.sample import INDEX_FILENAME, Sample, read_collection
from modeling.shipped import WEIGHTS, ship
from modeling.training_set import prepare


def main() -> None:
    """Parse the command line, train, and write what is shipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--pack", type=Path, help="file for another machine; nothing is trained here")
    options = parser.parse_args()
    console = Console()
    if not (COLLECTION / INDEX_FILENAME).exists():
        collect(COLLECTION, SHARED_DATA, console)
    samples = list(read_collection(COLLECTION, ["train"]))
    job = Job(find_bundle(BASE), NAME, PREPARATION, ON_PROCESSOR, WORK, options.threads, options.device)
    if options.device == "cpu" and options.pack is None:
        written = on_processor(job, samples, console)
    else:
        packed = options.pack or WORK / "pack.zip"
        packed_for(job, samples, packed, console)
        console.print(f"wrote {packed}", soft_wrap=True)
        if options.pack is not None:
            console.print(f"go on with: python -m examples.click.learn {packed}", soft_wrap=True)
            return
        workers = max(1, options.threads // len(RECIPES) - 1)
        written = learn(packed, WEIGHTS, WORK, drawn_anew(0), device=options.device, workers=workers)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)


def packed_for(job: Job, samples: Sequence[Sample], path: Path, console: Console) -> None:
    """Prepare the training images, with progress, and pack them with the base model."""
    with Progress(console=console) as progress:
        preparing = progress.add_task("embeddings and masks", total=None)

        def on_prepared(done: int, total: int) -> None:
            progress.update(preparing, completed=done, total=total)

        images = prepare(samples, job.base, job.work / "images", job.preparation, on_prepared, threads=job.threads)
    pack(images, job.base, lineage(job, samples, images), path)


def on_processor(job: Job, samples: Sequence[Sample], console: Console) -> tuple[Path, Path]:
    """Train with the encoder frozen, with progress, and write the model as it is shipped."""
    with Progress(console=console) as progress:
        preparing = progress.add_task("embeddings and masks", total=None)
        training = progress.add_task("steps", total=job.recipe.steps + job.recipe.head_steps)

        def on_prepared(done: int, total: int) -> None:
            progress.update(preparing, completed=done, total=total)

        def on_step(report: StepReport) -> None:
            progress.update(training, completed=report.step + 1)
            if report.step % 100 == 0:
                console.print(f"step {report.step}: {report.kind}, loss {report.loss:.3f}, IoU {report.iou:.2f}")

        tuned = run(job, samples, on_prepared, on_step)
    return ship(NAME, tuned.model, load_model(job.base), lineage=tuned.lineage, calibration={})


if __name__ == "__main__":
    main()
