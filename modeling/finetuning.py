"""Fine-tuning a promptable model: steps, checkpoints, and what is kept.

Each step draws everything from a generator seeded by the recipe's seed and the step's number, and the schedule depends
on the number alone, so that a run resumed from a checkpoint takes the very steps that an uninterrupted one takes.
"""

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hilum.errors import HilumError
from modeling.lesson import PromptedModel, draw_lesson, lesson_loss
from modeling.lora import add_lora, merge_lora
from modeling.recipe import Recipe
from modeling.training_set import TrainingImage, TrainingSet

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
        source: of the image.
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


class Embed(Protocol):
    """Makes a training image's embedding (1, C, h, w)."""

    def __call__(self, image: TrainingImage) -> Tensor:
        """Look it up, or compute it with gradient."""


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
    network_input: Callable[[TrainingImage], Tensor] | None = None,
    device: str = "cpu",
    on_step: OnStep | None = None,
) -> nn.Module:
    """Fine-tune a model; returns the average of its weights over the last steps, in evaluation mode.

    Args:
        model: with the parts `image_encoder`, `prompt_encoder` and `mask_decoder`; left as it is.
        training_set: what to learn from.
        recipe: how.
        folder: for checkpoint and log; a run that was interrupted there goes on.
        network_input: (1, 3, S, S) of a training image; needed where the recipe trains the encoder.
        device: of the computation.
        on_step: told of every step.

    Raises:
        FineTuningError: the training set is empty, or the folder holds a checkpoint of another recipe or data.
    """
    if not len(training_set):
        raise FineTuningError("the training set is empty: there is nothing to learn from")
    folder.mkdir(parents=True, exist_ok=True)
    trained = copy.deepcopy(model).to(device)
    _freeze(trained, recipe)
    embed = _embedding_source(trained, recipe, network_input, device)
    run = _Run(trained, copy.deepcopy(trained), _optimizer(trained, recipe))
    identity = {"recipe": recipe.to_json(), "data": [path.name for path in training_set.paths]}
    _resume(run, folder, identity)
    images = ImageDraw(training_set, recipe.seed)
    for report in _steps(run, model, images, embed, recipe):
        _log(folder, report)
        if on_step is not None:
            on_step(report)
        if run.step % recipe.checkpoint_every == 0 or run.step == report.steps:
            _save(run, folder, identity)
    if not recipe.head_steps:
        blend(run.averaged, model, recipe.base_share)
    merge_lora(run.averaged)
    return run.averaged.cpu().eval()


class ImageDraw:
    """Draws images so that sources take turns by the square root of their size: small ones are not drowned."""

    def __init__(self, training_set: TrainingSet, seed: int) -> None:
        self._set = training_set
        self._seed = seed
        self._indices: dict[str, list[int]] = {}
        for index, source in enumerate(training_set.sources()):
            self._indices.setdefault(source, []).append(index)
        weights = np.sqrt([len(indices) for indices in self._indices.values()])
        self._shares = weights / weights.sum()

    def __call__(self, step: int) -> tuple[TrainingImage, np.random.Generator]:
        """A step's image, and its generator for what follows."""
        random = np.random.default_rng([self._seed, step])
        indices = list(self._indices.values())[int(random.choice(len(self._shares), p=self._shares))]
        return self._set[indices[int(random.integers(len(indices)))]], random


def _steps(run: _Run, base: nn.Module, images: ImageDraw, embed: Embed, recipe: Recipe) -> Iterator[StepReport]:
    steps = recipe.steps + recipe.head_steps
    while run.step < steps:
        head_only = run.step >= recipe.steps
        if run.step == recipe.steps:
            # The head learns to score the masks that are kept.
            blend(run.averaged, base, recipe.base_share)
            run.model.load_state_dict(run.averaged.state_dict())
        if head_only:
            _freeze_all_but_head(run.model)
        image, random = images(run.step)
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, run.step)
        embedding = embed(image)
        with _autocast(recipe, embedding.device.type):
            prompted = PromptedModel(run.model.prompt_encoder, run.model.mask_decoder, embedding)
            lesson = draw_lesson(prompted, list(image.masks), recipe, random)
            loss, iou = lesson_loss(prompted.answer(lesson.prompts, lesson.mask_input), lesson, recipe)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
        nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        run.optimizer.step()
        _average(run, recipe)
        report = StepReport(run.step, steps, lesson.kind, image.source, float(loss.detach()), iou)
        run.step += 1
        yield report


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
    if recipe.trained == "lora" and not add_lora(encoder, recipe.lora_rank, float(recipe.lora_rank)):
        raise FineTuningError("this image encoder has no attention layers that LoRA could adapt")
    # Statistics of batch normalisation stay the pretrained ones: a step sees one image.
    encoder.eval()


def _freeze_all_but_head(model: nn.Module) -> None:
    decoder: Any = model.mask_decoder
    model.requires_grad_(False)
    decoder.iou_prediction_head.requires_grad_(True)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _embedding_source(
    model: nn.Module, recipe: Recipe, network_input: Callable[[TrainingImage], Tensor] | None, device: str
) -> Embed:
    if recipe.trained == "decoder":
        return lambda image: torch.from_numpy(image.embedding).float().to(device)
    if network_input is None:
        raise FineTuningError("training the encoder needs images: give network_input")

    encoder: Any = model.image_encoder

    def encode(image: TrainingImage) -> Tensor:
        with _autocast(recipe, device):
            embedding: Tensor = encoder(network_input(image).to(device))
        return embedding.float()

    return encode


def _autocast(recipe: Recipe, device: str) -> Any:
    return torch.autocast(device, torch.bfloat16) if recipe.precision == "bfloat16" else nullcontext()


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
