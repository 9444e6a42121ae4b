"""What a training step looks at: some images, and of each the masks that its prompts mean."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from modeling.recipe import Recipe
from modeling.training_set import TrainingImage, TrainingSet
from modeling.variation import STRENGTHS, varied

# Makes an encoder's input (1, 3, S, S) float32 of a training image.
NetworkInput = Callable[[TrainingImage], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Batch:
    """I images, and P masks of each.

    Attributes:
        images: (I, C, h, w) float32, stored embeddings, or (I, 3, S, S) float32, inputs of the encoder.
        masks: (I P, S, S) bool on the canvas, an image's P one after the other.
        sources: of the I images.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.bool_]
    sources: tuple[str, ...]


class Batches(Dataset[Batch]):
    """The batch of every step, drawn from the recipe's seed and the step's number alone.

    Sources take turns by the square root of their size: small ones are not drowned.

    Args:
        training_set: the images.
        recipe: how many of them, how many masks, whether they are seen anew.
        network_input: needed where the recipe runs the encoder; otherwise embeddings are read.
    """

    def __init__(self, training_set: TrainingSet, recipe: Recipe, network_input: NetworkInput | None) -> None:
        self._set = training_set
        self._recipe = recipe
        self._network_input = network_input
        self._indices: dict[str, list[int]] = {}
        for index, source in enumerate(training_set.sources()):
            self._indices.setdefault(source, []).append(index)
        weights = np.sqrt([len(indices) for indices in self._indices.values()])
        self._shares = weights / weights.sum()

    def __len__(self) -> int:
        return self._recipe.steps + self._recipe.head_steps

    def __getitem__(self, step: int) -> Batch:
        """Draw a step's batch."""
        random = np.random.default_rng([self._recipe.seed, step])
        chosen = [self._draw(random) for _ in range(self._recipe.images)]
        return Batch(
            images=np.concatenate([self._pixels(image) for image in chosen]),
            masks=np.concatenate([_some(image.masks, self._recipe.prompts, random) for image in chosen]),
            sources=tuple(image.source for image in chosen),
        )

    def _draw(self, random: np.random.Generator) -> TrainingImage:
        indices = list(self._indices.values())[int(random.choice(len(self._shares), p=self._shares))]
        image = self._set[indices[int(random.integers(len(indices)))]]
        strength = STRENGTHS.get(self._recipe.variation)
        return image if strength is None else varied(image, random, strength)

    def _pixels(self, image: TrainingImage) -> NDArray[np.float32]:
        if self._network_input is None:
            return image.embedding.astype(np.float32)
        return self._network_input(image)


def batches(dataset: Batches, first: int, workers: int) -> "torch.utils.data.DataLoader[Batch]":
    """The batches from a step on, in order; workers are processes that draw ahead, the draws are the same."""
    steps = range(first, len(dataset))
    # Workers only draw, with numpy and OpenCV: forking them beside a GPU is safe, and needs nothing to be pickled.
    context = "fork" if workers else None
    return torch.utils.data.DataLoader(
        dataset, batch_size=None, sampler=steps, num_workers=workers, multiprocessing_context=context
    )


def _some(masks: NDArray[np.bool_], count: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """`count` of the masks in any order, each as often as the others, give or take one."""
    rounds = -(-count // len(masks))
    chosen = np.concatenate([random.permutation(len(masks)) for _ in range(rounds)])[:count]
    some: NDArray[np.bool_] = masks[chosen]
    return some
