"""Makes lite-medsam-click: collects, prepares, trains twice on a GPU, averages, and writes what the repository ships.

    python -m examples.click.train [--threads 16] [--device cuda]

With a GPU it takes ten minutes, and twenty of preparing. With --device cpu it trains another, weaker model, the encoder
frozen, in an hour or two. An interrupted run goes on where it was. Writes
modeling/weights/lite-medsam-click.safetensors and .json, from which `python -m modeling install lite-medsam-click`
makes the bundle; `python -m examples.click.calibrate` follows.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence

from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import Progress
from torch import nn

from examples.click.collect import COLLECTION, SHARED_DATA, collect
from examples.click.recipe import BASE, BASE_SHARE, NAME, ON_PROCESSOR, PREPARATION, RECIPES, SCORING
from hilum.serving.bundle import find_bundle
from modeling.finetune import FineTuned, Job, run
from modeling.finetuning import StepReport, blend
from modeling.models import load_model
from modeling.sample import INDEX_FILENAME, Sample, read_collection
from modeling.shipped import ship
from modeling.soup import soup

WORK = user_cache_path("hilum") / "training" / "click"


def main() -> None:
    """Parse the command line, train, and write what is shipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    options = parser.parse_args()
    console = Console()
    if not (COLLECTION / INDEX_FILENAME).exists():
        collect(COLLECTION, SHARED_DATA, console)
    samples = list(read_collection(COLLECTION, ["train"]))
    job = Job(find_bundle(BASE), NAME, PREPARATION, ON_PROCESSOR, WORK, options.threads, options.device)
    tuned = averaged(job, samples, console) if options.device == "cuda" else learnt(job, samples, console)
    for path in ship(NAME, tuned.model, load_model(job.base), lineage=tuned.lineage, calibration={}):
        console.print(f"wrote {path}", soft_wrap=True)


def averaged(job: Job, samples: Sequence[Sample], console: Console) -> FineTuned:
    """A model of every recipe, its scoring head trained after it, averaged and blended with the base."""
    models, lineage = [], {}
    for number, recipe in enumerate(RECIPES):
        work = WORK / f"recipe-{number}"
        masks = learnt(dataclasses.replace(job, recipe=recipe, work=work), samples, console)
        scoring = dataclasses.replace(SCORING, variation=recipe.variation)
        scored = dataclasses.replace(job, recipe=scoring, work=work / "scoring")
        models.append(learnt(scored, samples, console, masks.model).model)
        lineage = masks.lineage
    model = soup(models)
    blend(model, load_model(job.base), BASE_SHARE)
    return FineTuned(model, described(lineage))


def described(lineage: dict[str, object]) -> dict[str, object]:
    """The lineage of the average: one model's, with every recipe."""
    others = {name: value for name, value in lineage.items() if name != "recipe"}
    plain = {"recipes": [recipe.to_json() for recipe in RECIPES], "scoring": SCORING.to_json()}
    return others | plain | {"base_share": BASE_SHARE}


def learnt(job: Job, samples: Sequence[Sample], console: Console, begin: nn.Module | None = None) -> FineTuned:
    """Train on the collection's training split, with progress; see `modeling.finetune.run`."""
    with Progress(console=console) as progress:
        preparing = progress.add_task("embeddings and masks", total=None)
        training = progress.add_task("steps", total=job.recipe.steps + job.recipe.head_steps)

        def on_prepared(done: int, total: int) -> None:
            progress.update(preparing, completed=done, total=total)

        def on_step(report: StepReport) -> None:
            progress.update(training, completed=report.step + 1)
            if report.step % 100 == 0:
                console.print(f"step {report.step}: {report.kind}, loss {report.loss:.3f}, IoU {report.iou:.2f}")

        return run(job, samples, on_prepared, on_step, images=WORK / "images", begin=begin)


if __name__ == "__main__":
    main()
