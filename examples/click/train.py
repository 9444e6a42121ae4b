"""Makes lite-medsam-click's decoder: collects, prepares, trains, calibrates, and writes what the repository ships.

    python -m examples.click.train [--threads 2] [--device cpu]

Takes an hour or more on a processor; an interrupted run goes on where it was. Writes
modeling/weights/lite-medsam-click.safetensors and .json, from which `python -m modeling install lite-medsam-click`
makes the bundle.
"""

from __future__ import annotations

import argparse
import os

from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import Progress

from examples.click.collect import COLLECTION, SHARED_DATA, collect
from examples.click.recipe import BASE, NAME, PREPARATION, RECIPE
from hilum.serving.bundle import find_bundle
from modeling.finetune import FineTuned, Job, run
from modeling.finetuning import StepReport
from modeling.models import load_model
from modeling.sample import INDEX_FILENAME, read_collection
from modeling.shipped import ship

WORK = user_cache_path("hilum") / "training" / "click"


def train(job: Job, console: Console) -> FineTuned:
    """Train on the collection's training split, with progress."""
    samples = list(read_collection(COLLECTION, ["train"]))
    with Progress(console=console) as progress:
        preparing = progress.add_task("embeddings and masks", total=None)
        training = progress.add_task("steps", total=job.recipe.steps + job.recipe.head_steps)

        def on_prepared(done: int, total: int) -> None:
            progress.update(preparing, completed=done, total=total)

        def on_step(report: StepReport) -> None:
            progress.update(training, completed=report.step + 1)
            if report.step % 100 == 0:
                console.print(f"step {report.step}: {report.kind}, loss {report.loss:.3f}, IoU {report.iou:.2f}")

        return run(job, samples, on_prepared, on_step)


def main() -> None:
    """Parse the command line, train, and write what is shipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    console = Console()
    if not (COLLECTION / INDEX_FILENAME).exists():
        collect(COLLECTION, SHARED_DATA, console)
    job = Job(find_bundle(BASE), NAME, PREPARATION, RECIPE, WORK, options.threads, options.device)
    tuned = train(job, console)
    for path in ship(NAME, tuned.model, load_model(job.base), lineage=tuned.lineage, calibration={}):
        console.print(f"wrote {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
