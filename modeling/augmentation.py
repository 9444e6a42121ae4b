"""One picture and its masks, seen otherwise: cropped, turned, mirrored, with other contrast, noise and blur."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask, Box

Picture = NDArray[np.uint8]
# Pictures are not made larger: models' canvases are not larger than two of these.
LARGEST_SIDE_PX = 512


@dataclass(frozen=True)
class Strength:
    """How much is changed.

    Attributes:
        zoom_on_target: probability of a crop around a target, 4 to 14 of its extents wide: what a region shows.
        crop: probability of a random crop otherwise, of at least .45 of each side.
        mirror: probability of left-right mirroring.
        largest_turn_deg: rotations are uniform up to it.
        intensity: probability of each of: contrast and gamma, noise, speckle, blur.
        smallest_crop_px: no crop is smaller.
    """

    zoom_on_target: float = 0.25
    crop: float = 0.4
    mirror: float = 0.5
    largest_turn_deg: float = 20.0
    intensity: float = 0.3
    smallest_crop_px: int = 48


def augment(
    image: Picture,
    masks: Sequence[BoolMask],
    boxes: Sequence[Box],
    random: np.random.Generator,
    strength: Strength,
) -> tuple[Picture, list[BoolMask]]:
    """A changed picture and its masks, in the order given; masks that leave the picture become empty.

    Args:
        image: (h, w) or (h, w, 3).
        masks: (h, w) each.
        boxes: the targets' boxes, to zoom on.
        random: decides everything.
        strength: how much.
    """
    x, y, width, height = _crop(image.shape[:2], boxes, random, strength)
    scale = min(1.0, LARGEST_SIDE_PX / max(width, height))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    matrix = _matrix((x, y, width, height), size, random, strength)
    picture = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    turned = [cv2.warpAffine(mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0 for mask in masks]
    return _intensities(np.asarray(picture, np.uint8), random, strength.intensity), turned


def _crop(
    size: tuple[int, ...], boxes: Sequence[Box], random: np.random.Generator, strength: Strength
) -> tuple[float, float, float, float]:
    """(x, y, width, height) of what is shown."""
    height, width = size[0], size[1]
    if boxes and random.random() < strength.zoom_on_target:
        box = boxes[int(random.integers(len(boxes)))]
        extent = max(box.x_max - box.x_min, box.y_max - box.y_min)
        side = float(
            np.clip(extent * np.exp(random.uniform(np.log(4), np.log(14))), strength.smallest_crop_px, max(size[:2]))
        )
        side_x, side_y = min(side, width), min(side, height)
        centre_x = (box.x_min + box.x_max) / 2 + random.uniform(-0.3, 0.3) * side_x
        centre_y = (box.y_min + box.y_max) / 2 + random.uniform(-0.3, 0.3) * side_y
        x = float(np.clip(centre_x - side_x / 2, 0, width - side_x))
        y = float(np.clip(centre_y - side_y / 2, 0, height - side_y))
        return x, y, side_x, side_y
    if random.random() < strength.crop:
        side_x, side_y = random.uniform(0.45, 1, 2) * (width, height)
        return random.uniform(0, width - side_x), random.uniform(0, height - side_y), side_x, side_y
    return 0.0, 0.0, float(width), float(height)


def _matrix(
    crop: tuple[float, float, float, float], size: tuple[int, int], random: np.random.Generator, strength: Strength
) -> NDArray[np.float64]:
    """(2, 3): pixels of the image to pixels of the result."""
    x, y, width, height = crop
    to_result = np.diag([size[0] / width, size[1] / height, 1.0])
    to_result[:2, 2] = -x * size[0] / width, -y * size[1] / height
    angle = np.deg2rad(random.uniform(-strength.largest_turn_deg, strength.largest_turn_deg) * (random.random() < 0.5))
    mirror = -1.0 if random.random() < strength.mirror else 1.0
    about = np.array([[mirror * np.cos(angle), -np.sin(angle)], [mirror * np.sin(angle), np.cos(angle)]])
    turn = np.eye(3)
    turn[:2, :2] = about
    centre = (np.array(size) - 1) / 2
    turn[:2, 2] = centre - about @ centre
    return np.asarray((turn @ to_result)[:2])


def _intensities(picture: Picture, random: np.random.Generator, probability: float) -> Picture:
    """Other contrast, gamma, noise, speckle, blur, each with a probability; colours keep together."""
    values = picture.astype(np.float32) / 255
    if random.random() < probability:
        values = np.clip((values - 0.5) * random.uniform(0.6, 1.6) + 0.5 + random.uniform(-0.15, 0.15), 0, 1)
        values = values ** np.exp(random.uniform(-0.5, 0.5))
    shape = values.shape[:2] if values.ndim == 2 else (*values.shape[:2], 1)
    if random.random() < probability:
        values = values + random.normal(0, random.uniform(0.01, 0.07), shape)
    if random.random() < probability / 2:
        speckle = cv2.GaussianBlur(random.rayleigh(1, shape[:2]).astype(np.float32), (0, 0), random.uniform(0.6, 1.5))
        speckle = (speckle / speckle.mean()).reshape(shape)
        values = values * (1 + random.uniform(0.3, 1) * (speckle - 1))
    values = np.asarray(values, np.float32)
    if random.random() < probability:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), random.uniform(0.4, 1.6)), np.float32)
    if random.random() < probability / 6:
        values = 1 - values
    return np.asarray((np.clip(values, 0, 1) * 255).round(), np.uint8)
