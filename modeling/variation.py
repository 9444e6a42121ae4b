"""A training image seen anew: with the encoder at hand, each step may see another crop, turn and contrast."""

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask
from modeling.augmentation import Strength, augment
from modeling.evaluation.in_process import input_size
from modeling.recipe import Variation
from modeling.sample import tight_box
from modeling.training_set import SMALLEST_MASK_PX, TrainingImage, fills, on_canvas

# What the stored variants went through adds to it.
STRENGTHS: Mapping[Variation, Strength] = {
    "mild": Strength(zoom_on_target=0.1, crop=0.35, intensity=0.2),
    "strong": Strength(zoom_on_target=0.2, crop=0.4, intensity=0.45, largest_turn_deg=45),
}


def varied(image: TrainingImage, random: np.random.Generator, strength: Strength) -> TrainingImage:
    """The image, changed, with the masks that it still shows; as it was where it would show none.

    The embedding is left out: it is of what was.
    """
    side = image.masks.shape[-1]
    height, width = image.input_size
    masks: list[BoolMask] = list(image.masks[:, :height, :width])
    boxes = [tight_box(mask) for mask in masks]
    picture, turned = augment(on_canvas_size(image), masks, boxes, random, strength)
    size = input_size(picture.shape[:2], 1.0, side)
    placed = np.stack([on_canvas(mask, size, side) for mask in turned])
    kept = np.array([mask.sum() >= SMALLEST_MASK_PX and not fills(mask, size) for mask in placed])
    if not kept.any():
        return replace(image, embedding=NOTHING)
    return replace(
        image,
        image=picture,
        embedding=NOTHING,
        masks=placed[kept],
        labelled=image.labelled[kept],
        input_size=size,
    )


NOTHING: NDArray[np.float16] = np.zeros(0, np.float16)


def on_canvas_size(image: TrainingImage) -> NDArray[np.uint8]:
    """The picture at the size that it has on the canvas, where its masks are."""
    height, width = image.input_size
    if image.image.shape[:2] == (height, width):
        return image.image
    return np.asarray(cv2.resize(image.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
