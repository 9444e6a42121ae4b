"""Trains what `examples.click.train` packed, on a machine with a GPU, and writes what the repository ships.

    python -m examples.click.learn PACK [--seed 0] [--out modeling/weights] [--work FOLDER]

The recipes are learnt side by side, since one alone leaves most of a GPU idle; with another seed the same recipes draw
other images and prompts, which tells how much of a figure is chance. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import nn

from examples.click.pack import Pack, unpacked
from examples.click.recipe import BASE_SHARE, NAME, RECIPES, SCORING
from modeling.curves import draw_curves
from modeling.evaluation.in_process import network_input
from modeling.finetune import CURVES_FILENAME
from modeling.finetuning import LOG_FILENAME, StepReport, blend, finetune
from modeling.models import build_model
from modeling.recipe import Recipe
from modeling.shipped import WEIGHTS, ship
from modeling.soup import soup
from modeling.training_set import TrainingImage

WORK = user_cache_path("hilum") / "training" / "click"
MODEL_FILENAME = "model.safetensors"
SHOWN_EVERY = 100


@dataclass(frozen=True)
class Study:
    """One recipe and where it is learnt.

    Attributes:
        pack: the file of images and base model.
        images: folder where its images are laid out.
        recipe: how they are learnt from.
        scoring: how the scoring head learns after it.
        work: folder for checkpoints, logs and the model.
        device: "cpu" or "cuda".
        workers: processes that draw images.
    """

    pack: Path
    images: Path
    recipe: Recipe
    scoring: Recipe
    work: Path
    device: str
    workers: int


def learnt(study: Study) -> Path:
    """Learn one recipe, then its scores; returns the file of the model's weights, float32."""
    torch.set_num_threads(1)
    given = unpacked(study.pack, study.images)

    def encoder_input(image: TrainingImage) -> NDArray[np.float32]:
        return network_input(image.image, given.manifest)[0]

    def on_step(report: StepReport) -> None:
        if report.step % SHOWN_EVERY == 0:
            step = f"{study.work.name}: step {report.step} of {report.steps}"
            print(f"{step}, {report.kind}, loss {report.loss:.3f}, IoU {report.iou:.2f}", flush=True)

    model = given.base
    for recipe, folder in ((study.recipe, study.work), (study.scoring, study.work / "scoring")):
        model = finetune(
            model,
            given.images,
            recipe,
            folder,
            network_input=encoder_input,
            device=study.device,
            workers=study.workers,
            on_step=on_step,
        )
    draw_curves(study.work / LOG_FILENAME, study.work / CURVES_FILENAME)
    path = study.work / MODEL_FILENAME
    safetensors.torch.save_file({name: it.contiguous() for name, it in model.state_dict().items()}, path)
    return path


def averaged(studies: Sequence[Study], given: Pack) -> nn.Module:
    """Learn side by side; returns the average of the models, blended with the base."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(studies), mp_context=spawn) as processes:
        files = list(processes.map(learnt, studies))
    models = [build_model(given.manifest.architecture, safetensors.torch.load_file(path)) for path in files]
    model = soup(models)
    blend(model, given.base, BASE_SHARE)
    return model


def drawn_anew(seed: int) -> list[tuple[Recipe, Recipe]]:
    """Every recipe, and that of its scores, with another draw of images and prompts."""
    recipes = [dataclasses.replace(recipe, seed=recipe.seed + seed) for recipe in RECIPES]
    return [(it, dataclasses.replace(SCORING, variation=it.variation, seed=it.seed)) for it in recipes]


def described(lineage: dict[str, Any], recipes: Sequence[tuple[Recipe, Recipe]]) -> dict[str, Any]:
    """The lineage of the average: that of the images, with every recipe."""
    plain = {"recipes": [it.to_json() for it, _ in recipes], "scoring": [it.to_json() for _, it in recipes]}
    return {name: value for name, value in lineage.items() if name != "recipe"} | plain | {"base_share": BASE_SHARE}


def learn(
    pack: Path, out: Path, work: Path, recipes: Sequence[tuple[Recipe, Recipe]], *, device: str, workers: int
) -> tuple[Path, Path]:
    """Learn every recipe, and write the average as it is shipped; returns both files.

    Args:
        pack: what was packed.
        out: folder for what is shipped, and the curves.
        work: folder kept between runs.
        recipes: each with that of its scores.
        device: "cpu" or "cuda".
        workers: processes that draw images for one recipe.
    """
    images = work / "unpacked"
    given = unpacked(pack, images)
    studies = [
        Study(pack, images, recipe, scoring, work / f"recipe-{number}-seed-{recipe.seed}", device, workers)
        for number, (recipe, scoring) in enumerate(recipes)
    ]
    model = averaged(studies, given)
    written = ship(NAME, model, given.base, lineage=described(dict(given.lineage), recipes), calibration={}, folder=out)
    for study in studies:
        shutil.copy(study.work / CURVES_FILENAME, out / f"{study.work.name}.png")
    return written


def main() -> None:
    """Parse the command line, learn, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="what `python -m examples.click.train --pack` wrote")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of images and prompts")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the weights")
    parser.add_argument("--work", type=Path, default=WORK, help="folder kept between runs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=int, default=max(1, cores // len(RECIPES) - 1), help="processes of a recipe")
    options = parser.parse_args()
    recipes = drawn_anew(options.seed)
    device, workers = options.device, options.workers
    for path in learn(options.pack, options.out, options.work, recipes, device=device, workers=workers):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
