"""One step's lesson: prompts on some images, the masks they mean, and what a model's answers cost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
from modeling.mask_decoder import MaskDecoder, PreparedImage
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
# Maps a function over the prompts of a lesson: in turn, or with an executor's threads.
Each = Callable[..., Iterable[Any]]


@dataclass(frozen=True)
class Answer:
    """A model's answer to B prompts.

    Attributes:
        logits: (B, 4, S, S); mask 0 is the likeliest meaning, 1 to 3 are what one click may mean.
        scores: (B, 4), predicted IoU.
    """

    logits: Tensor
    scores: Tensor


class PromptedModel:
    """A prompt encoder and mask decoder with the weights of one step, answering simulated prompts on I images.

    Args:
        prompt_encoder: segment-anything's.
        mask_decoder: segment-anything's.
        embeddings: (I, C, h, w) of the images.
        prompts: P of each image, an image's one after the other; with one image, any number.
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, embeddings: Tensor, prompts: int = 1) -> None:
        self._decoder = MaskDecoder(prompt_encoder, mask_decoder)
        prepared = self._decoder.prepare(embeddings)
        if len(embeddings) > 1:
            prepared = PreparedImage(*(part.repeat_interleave(prompts, 0) for part in prepared))
        self._prepared = prepared
        self.device = embeddings.device

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


def draw_lesson(
    model: PromptedModel, masks: NDArray[np.bool_], recipe: Recipe, random: np.random.Generator, each: Each = map
) -> Lesson:
    """Draw a kind of prompt, and prompts for masks (B, S, S); the model's answers say where later clicks fall."""
    kinds = list(recipe.shares)
    shares = np.array([recipe.shares[kind] for kind in kinds])
    kind = kinds[int(random.choice(len(kinds), p=shares / shares.sum()))]
    truth = torch.from_numpy(masks[:, None].astype(np.float32)).to(model.device)
    if kind == "box":
        return Lesson(kind, tuple(jittered_box(mask, random, recipe.jitter) for mask in masks), truth)
    if kind == "ground":
        return Lesson(kind, tuple(ground_box(mask, random) for mask in masks), truth)
    first = tuple(random_click(mask, random, recipe.imprecise) for mask in masks)
    if kind == "click":
        return Lesson(kind, first, truth)
    if kind == "again":
        return Lesson(kind, first, truth, _answered(model, first, None))
    return _corrected(model, Lesson(kind, first, truth), recipe, random, each)


def _corrected(model: PromptedModel, lesson: Lesson, recipe: Recipe, random: np.random.Generator, each: Each) -> Lesson:
    """Clicks in what the model's answers leave wrong, in one to three rounds of one or two clicks each."""
    masks = (lesson.masks[:, 0] > 0).cpu().numpy()
    clicks = int(random.integers(2, recipe.most_clicks + 1))
    prompts, mask_input = lesson.prompts, None
    feedback = bool(random.random() < recipe.mask_feedback)
    while len(prompts[0].points) < clicks:
        logits = _answered(model, prompts, mask_input)
        found = (logits[:, 0] > 0).cpu().numpy()
        for _ in range(min(int(random.integers(1, 3)), clicks - len(prompts[0].points))):
            prompts = tuple(each(_with_next_click, prompts, found, masks, random.spawn(len(prompts))))
        mask_input = logits if feedback else None
    return Lesson(lesson.kind, prompts, lesson.masks, mask_input)


@torch.no_grad()
def _answered(model: PromptedModel, prompts: Sequence[SimulatedPrompt], mask_input: Tensor | None) -> Tensor:
    """(B, 1, S, S) logits."""
    return first_choice(model.answer(prompts, mask_input))


def _with_next_click(
    prompt: SimulatedPrompt, found: BoolMask, mask: BoolMask, random: np.random.Generator
) -> SimulatedPrompt:
    """In the largest error, half the time at its deepest point; the first click again where nothing is wrong."""
    click = correcting_click(found, mask, random if random.random() < 0.5 else None)
    return prompt.with_click(click or (float(prompt.points[0, 0]), float(prompt.points[0, 1]), True))


def first_choice(answer: Answer) -> Tensor:
    """(B, 1, S, S): mask 0, which segment-anything advises for several prompts, and which learns one click here."""
    return answer.logits[:, :1]


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
    return loss, float(mask_iou(first_choice(answer), lesson.masks).mean())


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
