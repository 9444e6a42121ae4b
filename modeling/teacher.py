"""A model as its own teacher: masks of its surest boxes, for images that nobody has labelled.

Masks of a teacher serve training only; no figure is ever computed against them.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hilum.types import BoolMask, Box, Prompt
from modeling.evaluation.in_process import BundlePredictor, Encoded
from modeling.sample import tight_box

# Surer masks are rare: random boxes seldom fit a thing. At .85 and .9 most images gave none.
LEAST_SCORE, LEAST_STABILITY = 0.8, 0.8
# Below it, a mask's own box is no better prompt than the one it came from.
WORTH_FITTING = 0.5
LARGEST_OVERLAP = 0.6


def sure_masks(
    teacher: BundlePredictor, encoded: Encoded, random: np.random.Generator, *, boxes: int, kept: int
) -> list[BoolMask]:
    """Masks of random boxes that the model is sure of, none much like another.

    Args:
        teacher: with the image set.
        encoded: the same image.
        random: draws the boxes: sides from a twelfth of the image's to all of it.
        boxes: how many are tried.
        kept: most masks returned.

    Returns:
        (S, S) bool each, over the model's canvas.
    """
    if not kept:
        return []
    height, width = encoded.input_size
    first = teacher.predict([Prompt(box=box) for box in _boxes(encoded.image_size, random, boxes)])
    # A box that fits what was found in a random one is a better prompt.
    fitted = [
        tight_box(masks[0])
        for masks, scores in zip(first.masks, first.scores, strict=True)
        if scores[0] > WORTH_FITTING and masks[0].any()
    ]
    if not fitted:
        return []
    answers = teacher.predict([Prompt(box=box) for box in fitted])
    found: list[tuple[float, BoolMask]] = []
    for logits, score in zip(answers.low_res[:, 0], answers.scores[:, 0], strict=True):
        stability = float((logits > 1).sum() / max((logits > -1).sum(), 1))
        if score > LEAST_SCORE and stability > LEAST_STABILITY:
            inside = np.zeros(logits.shape, np.bool_)
            inside[:height, :width] = logits[:height, :width] > 0
            found.append((float(score) * stability, inside))
    return _different(found, encoded.input_size, kept)


def bright_part(image: NDArray[np.uint8], box: Box, margin_px: int = 3) -> BoolMask:
    """The largest bright part in a box, by Otsu's threshold between it and a margin around it; may be empty.

    For stones, which annotators marked with boxes only.
    """
    height, width = image.shape
    x_min, x_max = (int(np.clip(round(x + 0.5), 0, width)) for x in (box.x_min, box.x_max))
    y_min, y_max = (int(np.clip(round(y + 0.5), 0, height)) for y in (box.y_min, box.y_max))
    around = image[max(y_min - margin_px, 0) : y_max + margin_px, max(x_min - margin_px, 0) : x_max + margin_px]
    threshold, _ = cv2.threshold(np.ascontiguousarray(around), 0, 255, cv2.THRESH_OTSU)
    mask = np.zeros(image.shape, np.bool_)
    mask[y_min:y_max, x_min:x_max] = image[y_min:y_max, x_min:x_max] > threshold
    parts, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        mask = np.asarray(parts == sizes.argmax(), np.bool_)
    return mask


def _boxes(image_size: tuple[int, int], random: np.random.Generator, count: int) -> list[Box]:
    """Boxes in the image; sides uniform in logarithm."""
    size = np.array(image_size[::-1])
    sides = np.exp(random.uniform(np.log(1 / 12), 0, (count, 2)))
    # Most things are about as wide as they are high.
    sides = np.where(random.random((count, 1)) < 0.6, sides[:, :1], sides) * size
    first = random.uniform(0, 1, (count, 2)) * (size - sides) - 0.5
    return [Box(*corner, *(corner + side)) for corner, side in zip(first, sides, strict=True)]


def _different(found: Sequence[tuple[float, BoolMask]], input_size: tuple[int, int], kept: int) -> list[BoolMask]:
    chosen: list[BoolMask] = []
    for _, mask in sorted(found, key=lambda entry: -entry[0]):
        if not 30 <= mask.sum() <= 0.6 * input_size[0] * input_size[1]:
            continue
        overlaps = [(mask & other).sum() / (mask | other).sum() for other in chosen]
        if len(chosen) < kept and max(overlaps, default=0.0) < LARGEST_OVERLAP:
            chosen.append(mask)
    return chosen
