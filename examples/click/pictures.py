"""Pictures without masks, for self-distillation; stones with boxes only; and lesions drawn by the computer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from platformdirs import user_cache_path

from benchmarks.stones import LAST_TRAINING_SLICE, LOOK_ALIKE_SLICES, yolo_box
from examples.click.slicing import grey_levels, one_channel
from examples.click.wheel import unpack_from_wheel
from hilum.errors import HilumError
from hilum.images import read_image
from hilum.types import Window
from modeling.sample import Sample, Split, Target

SCIKIT_IMAGE = "scikit-image==0.26.0"
# Photographs and micrographs inside the wheel, all free to use (skimage/data/README.txt).
PHOTOGRAPHS = (
    "astronaut.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "hubble_deep_field.jpg", "ihc.png",
    "moon.png", "retina.jpg", "rocket.jpg", "camera.png", "motorcycle_left.png",
)  # fmt: skip
LARGEST_SIDE = 1024


def stones(data: Path) -> Iterator[Sample]:
    """Coronal CT slices with boxes around kidney stones; nothing is said about patients, so each slice is its own."""
    folder = data / "ct_stones_coronal_boxes"
    for path in sorted((folder / "images").iterdir()):
        number = int(path.stem)
        if number in LOOK_ALIKE_SLICES:
            continue
        grey = one_channel(read_image(path).pixels)
        size = (int(grey.shape[0]), int(grey.shape[1]))
        lines = (folder / "labels" / f"{path.stem}.txt").read_text().splitlines()
        targets = tuple(Target("kidney stone", None, yolo_box(line, size)) for line in lines)
        split: Split = "train" if number <= LAST_TRAINING_SLICE else "test"
        yield Sample(f"stone-{path.stem}", grey, targets, "ct-stones-coronal", "CT", path.stem, split)


def unlabelled(data: Path) -> Iterator[Sample]:
    """MR, ultrasound, radiographs, OCT angiography and histology without masks: for training."""
    paths = [
        *sorted((data / "mr_brain_dicom").glob("*.dcm")),
        *sorted((data / "octa_vessels" / "images").iterdir())[:6],
    ]
    paths += sorted((data / "registration_histology_landmarks").glob("*/*.jpg"))
    paths += sorted((data / "dicom_zoo").glob("*.dcm"))
    seen = set()
    for path in paths:
        try:
            image = read_image(path)
        except HilumError:
            continue
        modality = image.source.modality or _modality(path)
        if min(image.size) < 100 or image.source.modality in ("SEG", "RTDOSE", "NM", "OT"):
            continue
        grey = _shown(image.pixels, image.window)
        small = np.asarray(cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)) // 8
        digest = hashlib.sha256(small.tobytes()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            name = f"{path.parent.name}-{path.stem}".replace(" ", "_")
            yield Sample(name, grey, (), f"unlabelled-{modality.lower()}", modality, name, "train")


def photographs(cache: Path | None = None) -> Iterator[Sample]:
    """Photographs and micrographs out of scikit-image's wheel, which pip brings once: for training, no masks."""
    folder = cache or user_cache_path("hilum") / "scikit-image"
    for name in PHOTOGRAPHS:
        path = folder / name
        if not path.is_file():
            unpack_from_wheel(SCIKIT_IMAGE, "skimage/data", PHOTOGRAPHS, folder)
        with PillowImage.open(path) as picture:
            pixels = np.asarray(picture.convert("L" if picture.mode in ("L", "I;16") else "RGB"))
        yield Sample(f"photograph-{path.stem}", _bounded(pixels), (), "photographs", "XC", path.stem, "train")


def _shown(pixels: NDArray[np.generic], window: Window | None) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return _bounded(np.asarray(pixels, np.uint8))
    return _bounded(grey_levels(pixels, (window.center, window.width) if window else None))


def _bounded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = LARGEST_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _modality(path: Path) -> str:
    """What pictures that say nothing of themselves are."""
    if "octa_vessels" in path.parts:
        return "OP"
    return "SM" if path.suffix == ".jpg" else "OT"
