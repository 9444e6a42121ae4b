"""Lesions drawn into real pictures that nobody has labelled: a known outline on an anatomy that is not drawn.

What a click on a tumour means can hardly be learnt from the few outlines at hand. A planted lesion differs from the
tissue around it by its level, keeps some of the tissue's texture, may have a rim and a halo, and has an exact mask.
They are simulated, made from training pictures only, and never tested on.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from examples.click.drawn import Field, blob, softened, texture
from hilum.types import BoolMask
from modeling.sample import Sample, mask_target

SIDE = 256
MODALITIES = ("MR", "CT", "US", "DX", "CR")
# Below this share of the picture's range nothing but air is shown.
DARKEST_TISSUE = 0.12


def planted_lesions(pictures: Iterable[Sample], copies: int) -> Iterator[Sample]:
    """Yield `copies` of every radiological picture, in grey, each with one to three lesions of its own."""
    for picture in pictures:
        if picture.modality not in MODALITIES:
            continue
        for copy in range(copies):
            random = np.random.default_rng([zlib.crc32(picture.name.encode()), copy])
            image = _shrunk(picture.image)
            masks = _places(random, image)
            targets = []
            for mask in masks:
                changed = _with_lesion(random, image, mask)
                if _stands_out(changed, mask):
                    image = changed
                    targets.append(mask_target("planted lesion", mask))
            shown = np.asarray((image * 255).round(), np.uint8)
            name = f"planted-{picture.name}-{copy}"
            if targets:
                yield Sample(
                    name, shown, tuple(targets), "planted", picture.modality, picture.patient, "train", simulated=True
                )


def _shrunk(picture: NDArray[np.uint8]) -> Field:
    """Grey levels from 0 to 1, at most SIDE pixels wide and high; colours in them are only overlays."""
    if picture.ndim == 3:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = SIDE / max(picture.shape)
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA) / 255, np.float32)


def _places(random: np.random.Generator, image: Field) -> list[BoolMask]:
    """Separate blobs that lie mostly on tissue."""
    tissue = cv2.GaussianBlur(image, (0, 0), 3) > DARKEST_TISSUE
    masks: list[BoolMask] = []
    taken = np.zeros(image.shape, np.bool_)
    for _ in range(int(random.choice([1, 1, 2, 3]))):
        for _ in range(20):
            mask = blob(random, np.exp(random.uniform(np.log(4), np.log(45))))[: image.shape[0], : image.shape[1]]
            fits = mask.sum() > 40 and tissue[mask].mean() > 0.9
            if fits and not (taken & (cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0)).any():
                masks.append(mask)
                taken |= mask
                break
    return masks


def _around(mask: BoolMask) -> BoolMask:
    return np.asarray((cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))) > 0) & ~mask, np.bool_)


def _stands_out(image: Field, mask: BoolMask) -> bool:
    """Whether a person would see the patch: nobody can be taught an outline that is not there."""
    outside = image[_around(mask)]
    return abs(float(image[mask].mean() - outside.mean())) > max(0.1, 0.7 * float(outside.std()))


def _with_lesion(random: np.random.Generator, image: Field, mask: BoolMask) -> Field:
    """The picture with a lighter or darker, perhaps rimmed, patch."""
    local = float(image[_around(mask)].mean())
    step = float(random.uniform(0.12, 0.5)) * (1 if random.random() < 0.7 else -1)
    level = np.clip(local + step, 0.02, 1.0)
    if abs(level - local) < 0.1:
        level = np.clip(local - step, 0.02, 1.0)
    inside = level + random.uniform(0.01, 0.06) * texture(random, 6)[: image.shape[0], : image.shape[1]]
    if random.random() < 0.3:
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        core = np.clip(depth / max(float(depth.max()), 1.0) - random.uniform(0.2, 0.5), 0, 1)
        inside = inside - random.uniform(0.3, 1.0) * step * cv2.GaussianBlur(core, (0, 0), 1.5)
    kept = random.uniform(0.1, 0.5) * (image - local)
    edge = softened(mask, random.uniform(0.6, 2.5))
    changed = image * (1 - edge) + (inside + kept) * edge
    if random.random() < 0.3:
        halo = softened(cv2.dilate(mask.astype(np.uint8), np.ones((11, 11))) > 0, 5) * (1 - edge)
        changed = changed + random.uniform(0.1, 0.35) * step * halo
    return np.asarray(np.clip(changed, 0, 1), np.float32)
