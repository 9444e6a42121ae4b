"""One step's lesson: some prompts on one image, the masks they mean, and what a model's answers cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hilum.types import BoolMask
from modeling.losses import (
    cross_entropy_loss,
    dice_loss,
    focal_loss,
    iou_regression_loss,
    mask_iou,
    match_loss,
    ranking_loss,
)
from modeling.mask_decoder import MaskDecoder
from modeling.recipe import Recipe
from modeling.simulated_prompts import (
    PromptKind,
    SimulatedPrompt,
    correcting_click,
    ground_box,
    jittered_box,
    random_click,
)

FOCAL_WEIGHT = 20.0
# Share of the loss that the three masks of a click get from prompts that leave no doubt, so that they stay usable.
OTHER_OUTPUT = 0.2
DECIDING_CLICKS = 1


@dataclass(frozen=True)
class Answer:
    """A model's answer to B prompts.

    Attributes:
        logits: (B, 4, S, S); mask 0 for prompts that leave no doubt, 1 to 3 for one click.
        scores: (B, 4), predicted IoU.
    """

    logits: Tensor
    scores: Tensor


class PromptedModel:
    """A prompt encoder and mask decoder with the weights of one step, answering simulated prompts on one image.

    Args:
        prompt_encoder: segment-anything's.
        mask_decoder: segment-anything's.
        embedding: (1, C, h, w) of the image.
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, embedding: Tensor) -> None:
        self._decoder = MaskDecoder(prompt_encoder, mask_decoder)
        self._prepared = self._decoder.prepare(embedding)
        self.device = embedding.device

    def answer(self, prompts: Sequence[SimulatedPrompt], mask_input: Tensor | None = None) -> Answer:
        """Answer prompts that have equally many points, all or none a box.

        Args:
            prompts: on the image.
            mask_input: (B, 1, S, S) logits, or None.
        """
        coords, labels = (
            torch.from_numpy(np.stack(tokens)).to(self.device)
            for tokens in zip(*(prompt.tokens() for prompt in prompts), strict=True)
        )
        if mask_input is None:
            return Answer(*self._decoder(self._prepared, coords, labels))
        return Answer(*self._decoder.with_mask(self._prepared.image_tokens, coords, labels, mask_input))


@dataclass(frozen=True, eq=False)
class Lesson:
    """Prompts of one kind and the masks they mean.

    Attributes:
        kind: of all prompts.
        prompts: B of them.
        masks: (B, 1, S, S) float32, 0 or 1.
        mask_input: (B, 1, S, S) logits that the prompts correct, or None.
    """

    kind: PromptKind
    prompts: tuple[SimulatedPrompt, ...]
    masks: Tensor
    mask_input: Tensor | None = None


def draw_lesson(model: PromptedModel, masks: Sequence[BoolMask], recipe: Recipe, random: np.random.Generator) -> Lesson:
    """Draw a kind of prompt, masks, and prompts for them; the model's own answers say where later clicks fall."""
    kinds = list(recipe.shares)
    shares = np.array([recipe.shares[kind] for kind in kinds])
    kind = kinds[int(random.choice(len(kinds), p=shares / shares.sum()))]
    chosen = [masks[int(i)] for i in random.choice(len(masks), recipe.prompts, replace=len(masks) < recipe.prompts)]
    truth = torch.from_numpy(np.stack(chosen)[:, None].astype(np.float32)).to(model.device)
    if kind == "box":
        return Lesson(kind, tuple(jittered_box(mask, random, recipe.jitter) for mask in chosen), truth)
    if kind == "ground":
        return Lesson(kind, tuple(ground_box(mask, random) for mask in chosen), truth)
    first = tuple(random_click(mask, random) for mask in chosen)
    if kind == "click":
        return Lesson(kind, first, truth)
    return _corrected(model, Lesson(kind, first, truth), recipe, random)


def _corrected(model: PromptedModel, lesson: Lesson, recipe: Recipe, random: np.random.Generator) -> Lesson:
    """Clicks in what the model's answers leave wrong, in one to three rounds of one or two clicks each."""
    masks = (lesson.masks[:, 0] > 0).cpu().numpy()
    clicks = int(random.integers(2, recipe.most_clicks + 1))
    prompts, mask_input = list(lesson.prompts), None
    feedback = bool(random.random() < recipe.mask_feedback)
    while len(prompts[0].points) < clicks:
        with torch.no_grad():
            answer = model.answer(prompts, mask_input)
        logits = first_choice(answer, len(prompts[0].points))
        found = (logits[:, 0] > 0).cpu().numpy()
        for _ in range(min(int(random.integers(1, 3)), clicks - len(prompts[0].points))):
            prompts = [
                prompt.with_click(_next_click(prompt, inside, mask, random))
                for prompt, inside, mask in zip(prompts, found, masks, strict=True)
            ]
        mask_input = logits if feedback else None
    return Lesson(lesson.kind, tuple(prompts), lesson.masks, mask_input)


def _next_click(
    prompt: SimulatedPrompt, found: BoolMask, mask: BoolMask, random: np.random.Generator
) -> tuple[float, float, bool]:
    """In the largest error, half the time at its deepest point; the first click again where nothing is wrong."""
    click = correcting_click(found, mask, random if random.random() < 0.5 else None)
    return click or (float(prompt.points[0, 0]), float(prompt.points[0, 1]), True)


def first_choice(answer: Answer, clicks: int) -> Tensor:
    """(B, 1, S, S): of one click the best scored of three masks, of more mask 0, as segment-anything advises."""
    if clicks > DECIDING_CLICKS:
        return answer.logits[:, :1]
    best = 1 + answer.scores[:, 1:].argmax(1)
    return answer.logits[torch.arange(len(best), device=best.device), best][:, None]


def lesson_loss(answer: Answer, lesson: Lesson, recipe: Recipe) -> tuple[Tensor, float]:
    """The loss of an answer, and the mean IoU of the first choice (for the curves)."""
    masks = lesson.masks.expand_as(answer.logits)
    per_mask = _mask_loss(answer.logits, masks, recipe)
    single, best_of_three = per_mask[:, 0].mean(), per_mask[:, 1:].amin(1).mean()
    # One click may mean several things: three answers, of which the nearest learns (SAM, section A).
    ambiguous = lesson.kind == "click"
    of_masks = best_of_three + recipe.single_weight * single if ambiguous else single + OTHER_OUTPUT * best_of_three
    loss = of_masks + recipe.score_weight * iou_regression_loss(answer.scores, answer.logits, masks).mean()
    if ambiguous:
        ranking = ranking_loss(answer.scores[:, 1:], answer.logits[:, 1:], masks[:, 1:])
        loss = loss + recipe.ranking_weight * ranking.mean()
    chosen = first_choice(answer, 1 if ambiguous else 2)
    return loss, float(mask_iou(chosen, lesson.masks).mean())


def _mask_loss(logits: Tensor, masks: Tensor, recipe: Recipe) -> Tensor:
    """(B, M)."""
    if recipe.loss == "dice_ce":
        loss = dice_loss(logits, masks) + cross_entropy_loss(logits, masks)
    else:
        loss = FOCAL_WEIGHT * focal_loss(logits, masks) + dice_loss(logits, masks)
    if recipe.match_loss_weight:
        flat = logits.sigmoid().flatten(0, 1)[:, None], masks.flatten(0, 1)[:, None]
        loss = loss + recipe.match_loss_weight * match_loss(*flat).reshape(loss.shape)
    return loss
