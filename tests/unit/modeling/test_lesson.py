"""modeling.lesson: what is asked in a step, and what an answer costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from modeling.lesson import Answer, Lesson, PromptedModel, draw_lesson, first_choice, lesson_loss
from modeling.recipe import Recipe
from modeling.simulated_prompts import random_click
from tests.unit.modeling.tiny_task import CHANNELS, GRID, SIDE, tiny_sam

MASKS = np.zeros((3, SIDE, SIDE), np.bool_)
MASKS[0, 5:20, 5:20] = MASKS[1, 30:60, 10:50] = MASKS[2, 8:12, 40:60] = True


def _drawn(kind: Any, feedback: float = 0.5, seed: int = 0) -> Lesson:
    model: Any = tiny_sam()
    recipe = Recipe(shares={kind: 1.0}, prompts=4, mask_feedback=feedback)
    prompted = PromptedModel(model.prompt_encoder, model.mask_decoder, torch.zeros(1, CHANNELS, GRID, GRID))
    return draw_lesson(prompted, MASKS[[0, 1, 2, 0]], recipe, np.random.default_rng(seed))


@pytest.mark.parametrize(("kind", "points", "box"), [("box", 0, True), ("ground", 0, True), ("click", 1, False)])
def test_a_lesson_has_prompts_of_its_kind(kind: Any, points: int, box: bool) -> None:
    """Boxes come without points, a click alone; each prompt has its mask."""
    lesson = _drawn(kind)
    assert lesson.kind == kind
    assert lesson.masks.shape == (4, 1, SIDE, SIDE)
    for prompt in lesson.prompts:
        assert len(prompt.points) == points
        assert (prompt.box is not None) == box


@pytest.mark.parametrize("seed", range(4))
def test_several_clicks_correct_what_the_model_answers(seed: int) -> None:
    """Two to six clicks, the first in the mask, with the mask they correct where it is asked for."""
    lesson = _drawn("clicks", feedback=1.0, seed=seed)
    assert 2 <= len(lesson.prompts[0].points) <= 6
    assert lesson.mask_input is not None
    assert lesson.mask_input.shape == (4, 1, SIDE, SIDE)
    assert _drawn("clicks", feedback=0.0, seed=seed).mask_input is None


def test_a_click_may_come_again_with_its_own_answer() -> None:
    """The mask that comes with the click is the model's first choice for the click alone."""
    lesson = _drawn("again")
    model: Any = tiny_sam()
    prompted = PromptedModel(model.prompt_encoder, model.mask_decoder, torch.zeros(1, CHANNELS, GRID, GRID))
    with torch.no_grad():
        answer = prompted.answer(lesson.prompts)
    assert lesson.mask_input is not None
    torch.testing.assert_close(lesson.mask_input, first_choice(answer))


def test_prompts_on_several_images_are_answered_as_on_each() -> None:
    """Two images with two prompts each give the answers of the images alone."""
    model: Any = tiny_sam()
    embeddings = torch.randn(2, CHANNELS, GRID, GRID, generator=torch.Generator().manual_seed(1))
    prompts = [random_click(MASKS[number % 3], np.random.default_rng(number)) for number in range(4)]
    parts = model.prompt_encoder, model.mask_decoder
    with torch.no_grad():
        together = PromptedModel(*parts, embeddings, 2).answer(prompts)
        mask_input = first_choice(together)
        again = PromptedModel(*parts, embeddings, 2).answer(prompts, mask_input)
        for image in (0, 1):
            alone = PromptedModel(*parts, embeddings[image : image + 1])
            own = slice(2 * image, 2 * image + 2)
            torch.testing.assert_close(alone.answer(prompts[own]).logits, together.logits[own], rtol=1e-4, atol=1e-5)
            fed_back = alone.answer(prompts[own], mask_input[own]).logits
            torch.testing.assert_close(fed_back, again.logits[own], rtol=1e-4, atol=1e-5)


def test_one_good_candidate_is_enough_for_a_click_but_not_for_a_box() -> None:
    """Of a click's three candidates the nearest counts; a box is answered by mask 0."""
    truth = torch.from_numpy(MASKS[:1, None].astype(np.float32))
    right, wrong = (2 * truth - 1) * 20, (1 - 2 * truth) * 20
    scores = torch.zeros(1, 4)
    prompt = (random_click(MASKS[0], np.random.default_rng(0)),)
    third_right = Answer(torch.cat([wrong, wrong, wrong, right], 1), scores)
    first_right = Answer(torch.cat([right, wrong, wrong, wrong], 1), scores)
    recipe = replace(Recipe(), score_weight=0.0, ranking_weight=0.0, single_weight=0.2)
    click, box = Lesson("click", prompt, truth), Lesson("box", prompt, truth)
    assert lesson_loss(third_right, click, recipe)[0] < 0.5 * lesson_loss(first_right, click, recipe)[0]
    assert lesson_loss(first_right, box, recipe)[0] < 0.5 * lesson_loss(third_right, box, recipe)[0]


def test_losses_by_name_and_match_loss_differ() -> None:
    """SkinSAM's loss is another than SAM's, and Match_Loss adds to either where outlines differ."""
    truth = torch.from_numpy(MASKS[:1, None].astype(np.float32))
    answer = Answer(torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 4))
    lesson = Lesson("box", (random_click(MASKS[0], np.random.default_rng(0)),), truth)
    losses = [
        float(lesson_loss(answer, lesson, recipe)[0])
        for recipe in (Recipe(), Recipe(loss="dice_ce"), Recipe(match_loss_weight=1.0))
    ]
    assert len({round(loss, 4) for loss in losses}) == 3
    assert losses[2] > losses[0]
