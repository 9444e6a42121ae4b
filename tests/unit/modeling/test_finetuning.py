"""modeling.finetuning: real learning, resuming, what is trained and what is left alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modeling.finetuning import CHECKPOINT_FILENAME, LOG_FILENAME, FineTuningError, StepReport, finetune, learning_rate
from modeling.lesson import PromptedModel, first_choice
from modeling.losses import mask_iou
from modeling.recipe import Recipe
from modeling.simulated_prompts import random_click
from modeling.training_set import TrainingSet
from tests.unit.modeling.tiny_task import network_input, tiny_sam, write_discs

RECIPE = Recipe(steps=8, head_steps=2, prompts=2, checkpoint_every=4, most_clicks=3)


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return write_discs(tiny_sam(), tmp_path_factory.mktemp("discs"))


def _click_iou(model: nn.Module, discs: TrainingSet) -> float:
    """Mean IoU of the first choice of one click, over all discs."""
    modules: Any = model
    random, found = np.random.default_rng(99), []
    for index in range(len(discs)):
        image = discs[index]
        prompts = [random_click(mask, random) for mask in image.masks]
        with torch.no_grad():
            embedding = torch.from_numpy(image.embedding).float()
            answer = PromptedModel(modules.prompt_encoder, modules.mask_decoder, embedding).answer(prompts)
        truth = torch.from_numpy(image.masks[:, None].astype(np.float32))
        found.append(float(mask_iou(first_choice(answer), truth).mean()))
    return float(np.mean(found))


def test_a_click_is_learnt(discs: TrainingSet, tmp_path: Path) -> None:
    """A model that knows nothing finds bright discs from one click after some hundred steps."""
    model = tiny_sam()
    recipe = Recipe(steps=350, head_steps=50, prompts=4, learning_rate=3e-3, average=0.95, checkpoint_every=1000)
    before = _click_iou(model, discs)
    after = _click_iou(finetune(model, discs, recipe, tmp_path), discs)
    assert before < 0.3
    assert after > 0.7


def test_a_click_is_learnt_from_pictures_seen_anew(discs: TrainingSet, tmp_path: Path) -> None:
    """Several images a step, changed at each, teach the same with an encoder that stays as it is."""
    model = tiny_sam()
    recipe = Recipe(
        steps=350, head_steps=10, images=2, prompts=2, variation="mild", learning_rate=3e-3, checkpoint_every=1000
    )
    tuned = finetune(model, discs, replace(recipe, average=0.95), tmp_path, network_input=network_input)
    assert _click_iou(tuned, discs) > 0.6
    for name, weight in tuned.named_parameters():
        assert not name.startswith("image_encoder.") or torch.equal(weight, model.get_parameter(name))


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, images=2, variation="mild", trained="lora")])
def test_a_resumed_run_equals_an_uninterrupted_one(discs: TrainingSet, tmp_path: Path, recipe: Recipe) -> None:
    """A run that is stopped between checkpoints and started again ends with the same weights and the same log."""
    whole = finetune(tiny_sam(), discs, recipe, tmp_path / "whole", network_input=network_input)

    class Stopped(Exception):
        pass

    def stop(report: StepReport) -> None:
        if report.step == 5:
            raise Stopped

    with pytest.raises(Stopped):
        finetune(tiny_sam(), discs, recipe, tmp_path / "parts", network_input=network_input, on_step=stop)
    steps: list[int] = []
    resumed = finetune(
        tiny_sam(),
        discs,
        recipe,
        tmp_path / "parts",
        network_input=network_input,
        on_step=lambda report: steps.append(report.step),
    )
    assert steps == [4, 5, 6, 7, 8, 9]
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0)
    assert (tmp_path / "parts" / LOG_FILENAME).read_text() == (tmp_path / "whole" / LOG_FILENAME).read_text()


def test_a_checkpoint_of_another_run_is_refused(discs: TrainingSet, tmp_path: Path) -> None:
    """A folder that holds another recipe's checkpoint is named, and nothing in it changes."""
    finetune(tiny_sam(), discs, RECIPE, tmp_path)
    kept = (tmp_path / CHECKPOINT_FILENAME).read_bytes()
    with pytest.raises(FineTuningError, match="another recipe"):
        finetune(tiny_sam(), discs, replace(RECIPE, seed=1), tmp_path)
    assert (tmp_path / CHECKPOINT_FILENAME).read_bytes() == kept


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    """An empty training set is an error that says so."""
    with pytest.raises(FineTuningError, match="nothing to learn from"):
        finetune(tiny_sam(), TrainingSet([]), RECIPE, tmp_path)


@pytest.mark.parametrize(("trained", "encoder_changes"), [("decoder", False), ("lora", True), ("all", True)])
def test_the_encoder_changes_only_where_the_recipe_says_so(
    discs: TrainingSet, tmp_path: Path, trained: Any, encoder_changes: bool
) -> None:
    """Embeddings stay valid where the decoder alone is trained; LoRA and full training change the encoder."""
    model = tiny_sam()
    tuned = finetune(model, discs, replace(RECIPE, trained=trained), tmp_path, network_input=network_input)
    before, after = model.state_dict(), tuned.state_dict()
    assert before.keys() == after.keys()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"prompt_encoder", "mask_decoder"} | ({"image_encoder"} if encoder_changes else set())


def test_the_last_steps_train_the_scoring_head_alone(discs: TrainingSet, tmp_path: Path) -> None:
    """Head steps change the weights that predict IoU, and no mask."""
    short, longer = (
        finetune(tiny_sam(), discs, replace(RECIPE, head_steps=steps), tmp_path / str(steps)) for steps in (0, 6)
    )
    differ = {name for name, tensor in short.state_dict().items() if not torch.equal(tensor, longer.state_dict()[name])}
    assert differ
    assert all(name.startswith("mask_decoder.iou_prediction_head.") for name in differ)


def test_a_share_of_the_base_is_kept(discs: TrainingSet, tmp_path: Path) -> None:
    """With a base share, every weight lies that far on the way back to the base's; the scoring head learns on."""
    base = tiny_sam()
    alone = finetune(base, discs, replace(RECIPE, head_steps=0), tmp_path / "alone")
    for head_steps in (0, 2):
        recipe = replace(RECIPE, head_steps=head_steps, base_share=0.25)
        blended = finetune(base, discs, recipe, tmp_path / str(head_steps))
        for name, weight in base.named_parameters():
            if not head_steps or "iou_prediction_head" not in name:
                expected = torch.lerp(alone.get_parameter(name), weight, 0.25)
                torch.testing.assert_close(blended.get_parameter(name), expected)


def test_the_schedule_rises_and_falls() -> None:
    """The rate is highest after a tenth of the steps and near zero at their end."""
    recipe = Recipe(steps=100, head_steps=10)
    rates = [learning_rate(recipe, step) for step in range(110)]
    assert max(rates[:100]) == rates[10] == recipe.learning_rate
    assert rates[99] < 0.01 * recipe.learning_rate
    assert rates[100] > rates[109] > 0
