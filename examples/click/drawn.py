"""Lesions drawn by the computer: smooth blobs on speckled, skin-like or tissue-like grounds, with exact masks.

They stand in for kinds of image that are not at hand (ultrasound, dermoscopy, endoscopy) and teach only what a click
means: the connected thing around it that differs from its ground. They are simulated, and are never tested on.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask
from modeling.sample import Sample, mask_target

SIDE = 256
Field = NDArray[np.float32]


def drawn_lesions(count: int) -> Iterator[Sample]:
    """Yield `count` pictures in three styles, seeded by their number."""
    styles = (_ultrasound, _skin, _mucosa)
    for number in range(count):
        random = np.random.default_rng(number)
        masks = _lesions(random)
        style = styles[number % len(styles)]
        image = style(random, masks)
        targets = tuple(mask_target("drawn lesion", mask) for mask in masks)
        name = f"{style.__name__.removeprefix('_')}-{number:03d}"
        modality = {"_ultrasound": "US", "_skin": "XC", "_mucosa": "ES"}[style.__name__]
        yield Sample(f"drawn-{name}", image, targets, "drawn", modality, name, "train", simulated=True)


def _lesions(random: np.random.Generator) -> list[BoolMask]:
    """One to three separate blobs."""
    masks: list[BoolMask] = []
    taken = np.zeros((SIDE, SIDE), np.bool_)
    for _ in range(int(random.choice([1, 1, 2, 3]))):
        mask = blob(random)
        if mask.sum() > 60 and not (taken & (cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0)).any():
            masks.append(mask)
            taken |= mask
    return masks or [blob(random, radius=30)]


def blob(random: np.random.Generator, radius: float | None = None) -> BoolMask:
    """A closed curve around a centre: an ellipse whose radius wavers with the angle."""
    radius = radius or float(np.exp(random.uniform(np.log(8), np.log(75))))
    centre = random.uniform(radius * 0.7 + 4, SIDE - radius * 0.7 - 4, 2)
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radii = np.full(180, radius)
    for order in range(2, 9):
        radii += radius * random.normal(0, 0.35 / order**1.3) * np.cos(order * angles + random.uniform(0, 2 * np.pi))
    stretch, turn = random.uniform(0.55, 1.0), random.uniform(0, np.pi)
    points = np.stack([radii * np.cos(angles), stretch * radii * np.sin(angles)], 1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(canvas, [np.rint(points @ rotation + centre).astype(np.int32)], 1)
    return canvas > 0


def texture(random: np.random.Generator, scale: float) -> Field:
    """Smooth noise of mean 0 and deviation 1."""
    noise = cv2.GaussianBlur(random.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), scale)
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-6), np.float32)


def softened(mask: BoolMask, blur: float) -> Field:
    """The mask with an edge that fades over `blur` pixels."""
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), blur), np.float32)


def _ultrasound(random: np.random.Generator, masks: list[BoolMask]) -> NDArray[np.uint8]:
    """Layers under a probe, speckle (Rayleigh), dark masses with a shadow or a bright back wall."""
    rows = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None]
    layers = 0.45 + 0.15 * np.sin(2 * np.pi * (random.uniform(1, 5) * rows + 0.05 * texture(random, 30)))
    tissue = layers + 0.12 * texture(random, 12) + 0.06 * texture(random, 4)
    for mask in masks:
        inside = random.uniform(0.05, 0.35) + 0.04 * texture(random, 6)
        soft = softened(mask, random.uniform(0.8, 3))
        tissue = tissue * (1 - soft) + inside * soft
        columns = mask.any(axis=0)
        below = np.zeros((SIDE, SIDE), np.float32)
        below[int(np.flatnonzero(mask.any(axis=1))[-1]) :, columns] = 1
        tissue += random.uniform(-0.2, 0.25) * cv2.GaussianBlur(below, (0, 0), 6) * (1 - soft)
    grain = (random.uniform(0.8, 1.4), random.uniform(1.2, 2.4))
    speckle = cv2.GaussianBlur(random.rayleigh(1, (SIDE, SIDE)).astype(np.float32), (0, 0), grain[0], sigmaY=grain[1])
    decay = np.exp(-random.uniform(0, 0.8) * rows)
    return _grey(np.clip(tissue, 0.02, 1) * (speckle / speckle.mean()) * decay)


def _skin(random: np.random.Generator, masks: list[BoolMask]) -> NDArray[np.uint8]:
    """Skin with darker, mottled patches, a few hairs, darker corners."""
    colour = np.array([224, 178, 155]) * random.uniform(0.75, 1.1) + random.normal(0, 8, 3)
    picture = np.ones((SIDE, SIDE, 3), np.float32) * colour.astype(np.float32)
    picture *= (1 + 0.05 * texture(random, 40) + 0.02 * texture(random, 2))[..., None]
    for mask in masks:
        pigment = np.array([120, 75, 55]) * random.uniform(0.5, 1.35) + random.normal(0, 12, 3)
        mottled = (1 + 0.2 * texture(random, 8) + 0.06 * texture(random, 2))[..., None]
        soft = (softened(mask, random.uniform(1, 5)) * random.uniform(0.55, 1.0))[..., None]
        picture = picture * (1 - soft) + pigment.astype(np.float32) * mottled * soft
    for _ in range(int(random.integers(0, 9))):
        start, end = random.integers(0, SIDE, 2), random.integers(0, SIDE, 2)
        cv2.line(picture, start.tolist(), end.tolist(), (40, 30, 28), 1, cv2.LINE_AA)
    if random.random() < 0.4:
        picture *= _vignette(random)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _mucosa(random: np.random.Generator, masks: list[BoolMask]) -> NDArray[np.uint8]:
    """A pink fold-ridden wall, bumps lit from one side in nearly its own colour, highlights."""
    base = (np.array([190, 95, 80]) * random.uniform(0.8, 1.15) + random.normal(0, 10, 3)).astype(np.float32)
    light = 0.9 + 0.15 * texture(random, 25) + 0.04 * texture(random, 3)
    picture = np.ones((SIDE, SIDE, 3), np.float32) * base * light[..., None]
    for mask in masks:
        height = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        height = cv2.GaussianBlur(np.sqrt(height / (height.max() + 1e-6)), (0, 0), 2)
        direction = random.uniform(0, 2 * np.pi)
        slope = cv2.Sobel(height, cv2.CV_32F, 1, 0) * np.cos(direction) + cv2.Sobel(height, cv2.CV_32F, 0, 1) * np.sin(
            direction
        )
        shade = 1 + random.uniform(0.4, 1.2) * slope + random.uniform(-0.1, 0.25) * height
        tint = 1 + random.normal(0, 0.07, 3).astype(np.float32)
        soft = softened(mask, 1.5)[..., None]
        picture = picture * (1 - soft) + picture * np.clip(shade, 0.3, 1.9)[..., None] * tint * soft
    for _ in range(int(random.integers(0, 8))):
        cv2.circle(picture, random.integers(0, SIDE, 2).tolist(), int(random.integers(1, 5)), (245, 240, 235), -1)
    return np.clip(cv2.GaussianBlur(picture * _vignette(random)[..., None], (0, 0), 0.7), 0, 255).astype(np.uint8)


def _vignette(random: np.random.Generator) -> Field:
    y, x = np.mgrid[-1:1:256j, -1:1:256j].astype(np.float32)
    return np.asarray(np.clip(1.35 - random.uniform(0.3, 0.8) * (x * x + y * y), 0.05, 1), np.float32)


def _grey(picture: Field) -> NDArray[np.uint8]:
    low, high = np.percentile(picture, (0.5, 99.7))
    compressed = np.log1p(4 * np.clip((picture - low) / (high - low), 0, 1)) / np.log1p(4)
    return np.asarray((compressed * 255).round(), np.uint8)
