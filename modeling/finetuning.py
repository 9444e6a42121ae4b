"""Fine-tuning a promptable model: steps, checkpoints, and what is kept.

Each step draws everything from a generator seeded by the recipe's seed and the step's number, and the schedule depends
on the number alone, so that a run resumed from a checkpoint takes the very steps that an uninterrupted one takes.
"""

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hilum.errors import HilumError
from modeling.batch import Batch, Batches, NetworkInput, batches
from modeling.lesson import Each, Lesson, PromptedModel, draw_lesson, lesson_loss
from modeling.lora import add_lora, merge_lora
from modeling.recipe import Recipe
from modeling.training_set import TrainingSet

CHECKPOINT_FILENAME = "checkpoint.pt"
LOG_FILENAME = "steps.jsonl"
WARM_UP = 0.1
LARGEST_GRADIENT = 1.0
HEAD_LEARNING_RATE = 2e-4


class FineTuningError(HilumError):
    """There is nothing to learn from, or a checkpoint belongs to another run."""


@dataclass(frozen=True)
class StepReport:
    """What a step did.

    Attributes:
        step: from 0.
        steps: of the whole run.
        kind: of prompt.
        source: of the first image.
        loss: of the lesson.
        iou: mean IoU of the first choices.
    """

    step: int
    steps: int
    kind: str
    source: str
    loss: float
    iou: float


OnStep = Callable[[StepReport], None]


@dataclass
class _Run:
    """What a checkpoint holds."""

    model: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0


def finetune(
    model: nn.Module,
    training_set: TrainingSet,
    recipe: Recipe,
    folder: Path,
    *,
    network_input: NetworkInput | None = None,
    device: str = "cpu",
    workers: int = 0,
    on_step: OnStep | None = None,
) -> nn.Module:
    """Fine-tune a model; returns the average of its weights over the last steps, in evaluation mode.

    Args:
        model: with the parts `image_encoder`, `prompt_encoder` and `mask_decoder`; left as it is.
        training_set: what to learn from.
        recipe: how.
        folder: for checkpoint and log; a run that was interrupted there goes on.
        network_input: (1, 3, S, S) of a training image; needed where the recipe runs the encoder.
        device: of the computation.
        workers: processes that draw and change images ahead of the steps.
        on_step: told of every step.

    Raises:
        FineTuningError: the training set is empty, or the folder holds a checkpoint of another recipe or data.
    """
    if not len(training_set):
        raise FineTuningError("the training set is empty: there is nothing to learn from")
    if recipe.encodes and network_input is None:
        raise FineTuningError("this recipe runs the encoder, which needs images: give network_input")
    folder.mkdir(parents=True, exist_ok=True)
    trained = copy.deepcopy(model)
    _freeze(trained, recipe)
    trained.to(device)
    _derive(trained)
    run = _Run(trained, copy.deepcopy(trained), _optimizer(trained, recipe))
    identity = {"recipe": recipe.to_json(), "data": [path.name for path in training_set.paths]}
    _resume(run, folder, identity)
    dataset = Batches(training_set, recipe, network_input if recipe.encodes else None)
    for report in _steps(run, model, batches(dataset, run.step, workers), recipe):
        _log(folder, report)
        if on_step is not None:
            on_step(report)
        if run.step % recipe.checkpoint_every == 0 or run.step == report.steps:
            _save(run, folder, identity)
    if not recipe.head_steps:
        blend(run.averaged, model, recipe.base_share)
    merge_lora(run.averaged)
    return run.averaged.cpu().eval()


def _steps(run: _Run, base: nn.Module, drawn: Iterable[Batch], recipe: Recipe) -> Iterator[StepReport]:
    steps = recipe.steps + recipe.head_steps
    with ThreadPoolExecutor(recipe.images) as threads:
        for batch in drawn:
            if run.step == recipe.steps:
                # The head learns to score the masks that are kept.
                blend(run.averaged, base, recipe.base_share)
                run.model.load_state_dict(run.averaged.state_dict())
            if run.step >= recipe.steps:
                _freeze_all_but_head(run.model)
            for group in run.optimizer.param_groups:
                group["lr"] = group["share"] * learning_rate(recipe, run.step)
            lesson, loss, iou = _lesson(run, batch, recipe, threads.map)
            run.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
            parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            run.optimizer.step()
            _average(run, recipe)
            report = StepReport(run.step, steps, lesson.kind, batch.sources[0], float(loss.detach()), iou)
            run.step += 1
            yield report


def _lesson(run: _Run, batch: Batch, recipe: Recipe, each: Each) -> tuple[Lesson, Tensor, float]:
    """A step's lesson, its loss, and the mean IoU of the first choices."""
    model: Any = run.model
    device = next(model.parameters()).device
    embeddings = torch.from_numpy(batch.images).to(device)
    products = "high" if recipe.precision == "mixed" else "highest"
    torch.set_float32_matmul_precision(products)
    if recipe.encodes:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "mixed"):
            embeddings = model.image_encoder(embeddings)
        embeddings = embeddings.float()
    prompted = PromptedModel(model.prompt_encoder, model.mask_decoder, embeddings, recipe.prompts)
    # Another stream than the one that drew the batch, in a process of its own perhaps.
    random = np.random.default_rng([recipe.seed, run.step, 1])
    lesson = draw_lesson(prompted, batch.masks, recipe, random, each)
    loss, iou = lesson_loss(prompted.answer(lesson.prompts, lesson.mask_input), lesson, recipe)
    return lesson, loss, iou


@torch.no_grad()
def blend(tuned: nn.Module, base: nn.Module, base_share: float) -> None:
    """Move a fine-tuned model's weights towards its base's, in place; shares of 0 and 1 are the two models.

    LoRA's additions have no counterpart in the base and stay.
    """
    before = dict(base.named_parameters())
    for name, kept in tuned.named_parameters():
        if name in before:
            kept.lerp_(before[name].to(kept.device), base_share)


def learning_rate(recipe: Recipe, step: int) -> float:
    """One cycle: up in a tenth of the steps, down along a cosine; then the head's own, falling linearly."""
    if step >= recipe.steps:
        return HEAD_LEARNING_RATE * (1 - (step - recipe.steps) / max(recipe.head_steps, 1))
    warm = max(WARM_UP * recipe.steps, 1)
    if step < warm:
        return recipe.learning_rate * (0.04 + 0.96 * step / warm)
    along = (step - warm) / max(recipe.steps - warm, 1)
    return recipe.learning_rate * max(0.5 * (1 + math.cos(math.pi * along)), 1e-3)


def _freeze(model: nn.Module, recipe: Recipe) -> None:
    model.train()
    encoder: Any = model.image_encoder
    encoder.requires_grad_(recipe.trained == "all")
    if recipe.trained == "lora" and not add_lora(encoder, recipe.lora_rank, float(recipe.lora_rank), seed=recipe.seed):
        raise FineTuningError("this image encoder has no attention layers that LoRA could adapt")


def _derive(model: nn.Module) -> None:
    """Leave the encoder in evaluation mode, with what it derives from weights made of them where they are now."""
    encoder: Any = model.image_encoder
    encoder.train()
    # Statistics of batch normalisation stay the pretrained ones: a step sees few images. On eval() TinyViT derives its
    # attention biases, which stay as they are.
    with torch.no_grad():
        encoder.eval()


def _freeze_all_but_head(model: nn.Module) -> None:
    decoder: Any = model.mask_decoder
    model.requires_grad_(False)
    decoder.iou_prediction_head.requires_grad_(True)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    encoder: Any = model.image_encoder
    # LoRA's additions begin at nothing and learn like the decoder; the encoder's own weights know much already.
    share = recipe.encoder_rate if recipe.trained == "all" else 1.0
    of_encoder = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    known = {id(parameter) for parameter in of_encoder}
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in known]
    groups: list[dict[str, Any]] = [{"params": others, "share": 1.0}]
    if of_encoder:
        groups.append({"params": of_encoder, "share": share})
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


@torch.no_grad()
def _average(run: _Run, recipe: Recipe) -> None:
    # The average follows fast at first: its beginning is the base model.
    decay = min(recipe.average, (1 + run.step) / (10 + run.step))
    for kept, now in zip(run.averaged.parameters(), run.model.parameters(), strict=True):
        if now.requires_grad:
            kept.lerp_(now, 1 - decay)


def _resume(run: _Run, folder: Path, identity: dict[str, Any]) -> None:
    path = folder / CHECKPOINT_FILENAME
    if not path.exists():
        (folder / LOG_FILENAME).unlink(missing_ok=True)
        return
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if stored["identity"] != json.dumps(identity, sort_keys=True):
        raise FineTuningError(f"{path} is of another recipe or other data; remove {folder} or name another folder")
    run.model.load_state_dict(stored["model"])
    run.averaged.load_state_dict(stored["averaged"])
    run.optimizer.load_state_dict(stored["optimizer"])
    run.step = stored["step"]
    log = folder / LOG_FILENAME
    lines = log.read_text(encoding="utf-8").splitlines()[: run.step]
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _save(run: _Run, folder: Path, identity: dict[str, Any]) -> None:
    scratch = folder / f"{CHECKPOINT_FILENAME}.partial"
    torch.save(
        {
            "identity": json.dumps(identity, sort_keys=True),
            "model": run.model.state_dict(),
            "averaged": run.averaged.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "step": run.step,
        },
        scratch,
    )
    scratch.replace(folder / CHECKPOINT_FILENAME)


def _log(folder: Path, report: StepReport) -> None:
    with (folder / LOG_FILENAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(report)) + "\n")
