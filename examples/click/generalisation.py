"""Shows what generalises: fine-tunes the base without one group of training images after another, and tests each model.

    python -m examples.click.generalisation [--steps 1500] [--threads 2] [--groups mr stones ...] [--limit 0]

Uses the training images that `python -m examples.click.train` prepared, and a shorter version of its recipe for
processors. What is interrupted goes on where it was; after preparing anew, remove the work folder. Writes
build/evaluation/generalisation.md and .json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from torch import nn

from examples.click.collect import COLLECTION
from examples.click.comparison import figures, tables
from examples.click.groups import GROUPS, NOTHING, REDRAWN, Group, prepared_without
from examples.click.learn import WORK
from examples.click.recipe import BASE, ON_PROCESSOR, PREPARATION
from hilum.serving.bundle import Bundle, find_bundle
from modeling.evaluation.command import TERMINAL_WIDTH
from modeling.evaluation.evaluate import evaluate
from modeling.evaluation.in_process import open_bundles
from modeling.evaluation.outcome import Outcome
from modeling.evaluation.tables import Table
from modeling.finetune import FineTuned, Job, write
from modeling.finetuning import StepReport, finetune
from modeling.models import load_model
from modeling.recipe import Recipe
from modeling.sample import read_collection, read_index
from modeling.training_set import Preparation

# Side of a baseline's box, which is not asked for.
UNUSED_SIDE = 32.0
# The others go to every single source.
PRINTED_TABLES = 2


@dataclass(frozen=True)
class Study:
    """What is left out, learnt and tested.

    Attributes:
        base: the bundle that every fine-tuning begins with.
        collection: folder of the collection.
        preparation: how its training images were prepared.
        images: folder in which they are; only read.
        groups: what is left out in turn, after nothing.
        recipe: how each model learns.
        work: folder for checkpoints and bundles, one folder a group.
        threads: of the computation.
        limit: most test images of each source; 0 for all.
    """

    base: Bundle
    collection: Path
    preparation: Preparation
    images: Path
    groups: Sequence[Group]
    recipe: Recipe
    work: Path
    threads: int
    limit: int = 0


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """A recipe of so many steps, its head steps in proportion."""
    return dataclasses.replace(recipe, steps=steps, head_steps=round(recipe.head_steps * steps / recipe.steps))


def learn(study: Study, base: nn.Module, progress: Progress) -> list[Bundle]:
    """Fine-tune the base on everything, then without each group in turn; the bundles, in this order.

    Args:
        study: what to do.
        base: torch model of the study's base.
        progress: shows the steps.

    Raises:
        UnpreparedError: training images are missing.
        FineTuningError: nothing remains, or a folder of `study.work` belongs to another recipe or other images.
    """
    torch.set_num_threads(study.threads)
    entries, groups = read_index(study.collection), (NOTHING, *study.groups)
    sets = [prepared_without(group, entries, study.preparation, study.images) for group in groups]
    steps = study.recipe.steps + study.recipe.head_steps
    tasks = [progress.add_task(f"{group.model}, steps", total=steps, start=False) for group in groups]
    bundles = []
    for group, training_set, task in zip(groups, sets, tasks, strict=True):

        def on_step(report: StepReport, task: TaskID = task) -> None:
            progress.update(task, completed=report.step + 1)

        progress.start_task(task)
        recipe = dataclasses.replace(study.recipe, seed=study.recipe.seed + group.seed)
        job = Job(study.base, group.model, study.preparation, recipe, study.work / group.name, study.threads)
        tuned = finetune(base, training_set, job.recipe, job.work, on_step=on_step)
        progress.update(task, completed=steps)
        lineage = {
            "base_decoder_revision": study.base.manifest.decoder_revision,
            "left_out": group.name,
            "training_images": len(training_set),
            "recipe": job.recipe.to_json(),
        }
        bundles.append(write(job, FineTuned(tuned, lineage), job.work / "bundle").bundle)
    return bundles


def ask(study: Study, bundles: Sequence[Bundle], progress: Progress) -> list[Outcome]:
    """Boxes and single clicks on every target of the test split; each image is encoded once for all models."""
    kept = _test_images(study.collection, study.limit)
    task = progress.add_task("test images", total=len(kept))

    def on_image(count: int) -> None:
        progress.update(task, completed=count)

    samples = (it for it in read_collection(study.collection, ["test"]) if (it.source, it.name) in kept)
    predictors = open_bundles(bundles, study.threads)
    return evaluate(predictors, samples, ("click", "box"), UNUSED_SIDE, on_image=on_image).outcomes


def report(study: Study, learnt: Sequence[Bundle], outcomes: Sequence[Outcome], folder: Path) -> list[Table]:
    """Write generalisation.md and generalisation.json; returns the tables."""
    shown = tables(outcomes, study.groups)
    setting = {
        "base": study.base.manifest.name,
        "steps": study.recipe.steps,
        "head steps": study.recipe.head_steps,
        "training images": {bundle.manifest.name: bundle.manifest.lineage["training_images"] for bundle in learnt},
        "test images": len({(it.source, it.sample) for it in outcomes}),
        "most test images of a source": study.limit or "all",
    }
    lines = [f"- {name}: {_words(value)}" for name, value in setting.items()]
    head = ["# What generalises", "", "Not for diagnosis.", "", *lines, ""]
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*head, *(table.markdown() for table in shown)])
    (folder / "generalisation.md").write_text(text, encoding="utf-8")
    content = {
        "setting": setting,
        "recipe": study.recipe.to_json(),
        "tables": [vars(table) for table in shown],
        "figures": figures(outcomes),
    }
    (folder / "generalisation.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return shown


def run(study: Study, base: nn.Module, folder: Path, console: Console) -> None:
    """Learn, ask, write the report to a folder, and print what leaving out changed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        learnt = learn(study, base, progress)
        outcomes = ask(study, [*learnt, study.base], progress)
    for table in report(study, learnt, outcomes, folder)[:PRINTED_TABLES]:
        shown = RichTable(*table.header, title=table.title, caption=table.note)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(f"every test source: {folder / 'generalisation.md'}", soft_wrap=True)


def _test_images(collection: Path, limit: int) -> set[tuple[str, str]]:
    """(source, name) of the test images that have targets, at most `limit` of each source, spread over it."""
    by_source: dict[str, list[str]] = {}
    for entry in read_index(collection):
        if entry["split"] == "test" and entry["targets"]:
            by_source.setdefault(entry["source"], []).append(entry["name"])
    return {
        (source, name)
        for source, names in by_source.items()
        for name in names[:: math.ceil(len(names) / (limit or len(names)))]
    }


def _words(value: object) -> str:
    return ", ".join(f"{name} {number}" for name, number in value.items()) if isinstance(value, dict) else str(value)


def main() -> None:
    """Parse the command line and run."""
    names = [group.name for group in GROUPS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500, help="of each fine-tuning, its head's not counted")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--groups", nargs="+", choices=names, default=names, metavar="GROUP", help=", ".join(names))
    parser.add_argument("--limit", type=int, default=0, help="most test images of each source; 0: all")
    parser.add_argument("--work", type=Path, default=WORK.parent / "generalisation", help="folder kept between runs")
    parser.add_argument("--out", type=Path, default=Path("build/evaluation"), help="folder of the report")
    options = parser.parse_args()
    console = Console(width=max(Console().width, TERMINAL_WIDTH))
    chosen = [group for group in GROUPS if group.name in options.groups]
    groups = [group for group in chosen if group is REDRAWN or group.among(read_index(COLLECTION))]
    for group in chosen:
        if group not in groups:
            console.print(f"{group.name}: the collection has no such training images")
    study = Study(
        base=find_bundle(BASE),
        collection=COLLECTION,
        preparation=PREPARATION,
        images=WORK / "images",
        groups=groups,
        recipe=shortened(ON_PROCESSOR, options.steps),
        work=options.work,
        threads=options.threads,
        limit=options.limit,
    )
    run(study, load_model(study.base), options.out, console)


if __name__ == "__main__":
    main()
