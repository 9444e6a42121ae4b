"""modeling.batch: what a step looks at."""

import numpy as np
import pytest

from modeling.batch import Batches, batches
from modeling.recipe import Recipe, Variation
from modeling.training_set import TrainingSet
from tests.unit.modeling.tiny_task import CHANNELS, GRID, SIDE, network_input, tiny_sam, write_discs

RECIPE = Recipe(steps=5, head_steps=1, images=3, prompts=4)


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return write_discs(tiny_sam(), tmp_path_factory.mktemp("discs"))


def test_a_batch_has_images_and_masks_of_each(discs: TrainingSet) -> None:
    """I images, and P masks of each, drawn again where an image has fewer; embeddings or the encoder's inputs."""
    stored = Batches(discs, RECIPE, None)[0]
    assert stored.images.shape == (3, CHANNELS, GRID, GRID)
    assert stored.masks.shape == (12, SIDE, SIDE)
    assert all(len({mask.tobytes() for mask in stored.masks[4 * i : 4 * i + 4]}) == 2 for i in range(3))
    seen = Batches(discs, Recipe(steps=5, images=2, variation="mild"), network_input)[0]
    assert seen.images.shape == (2, 3, SIDE, SIDE)


def test_batches_depend_on_seed_and_step_alone(discs: TrainingSet) -> None:
    """Begun at any step, in processes or without, the batches are the same."""
    recipe = Recipe(steps=5, head_steps=1, images=2, variation="mild")
    dataset = Batches(discs, recipe, network_input)
    whole = list(batches(dataset, 0, 0))
    assert len(whole) == 6
    for workers in (0, 2):
        for first, second in zip(whole[3:], batches(dataset, 3, workers), strict=True):
            assert np.array_equal(first.images, second.images)
            assert np.array_equal(first.masks, second.masks)
            assert first.sources == second.sources


def test_pictures_are_seen_anew_only_where_the_recipe_says_so(discs: TrainingSet) -> None:
    """Without it, an image's input is always the same; with it, hardly ever."""
    kinds: tuple[tuple[Variation, int, int], ...] = (("none", 0, 12), ("mild", 40, 60), ("strong", 40, 60))
    for variation, fewest, most in kinds:
        recipe = Recipe(steps=60, head_steps=0, trained="lora", variation=variation)
        inputs = {batch.images.tobytes() for batch in batches(Batches(discs, recipe, network_input), 0, 0)}
        assert fewest <= len(inputs) <= most
