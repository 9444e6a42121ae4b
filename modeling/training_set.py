"""What a frozen encoder makes of a collection, computed once: image embeddings, and masks on the model's canvas.

With the encoder frozen, fine-tuning is a matter of embeddings; each costs as much as many steps of the decoder, so that
they are kept in a folder, one file an image and variant. An interrupted run goes on where it was.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.serving.bundle import Bundle
from hilum.types import BoolMask
from modeling.augmentation import Strength, augment
from modeling.evaluation.in_process import BundlePredictor, ImageEncoder
from modeling.sample import Sample, tight_box
from modeling.teacher import bright_part, sure_masks

SMALLEST_MASK_PX = 8
# Told how many variants are done, and of how many.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Preparation:
    """How a collection becomes a training set.

    Attributes:
        seed: of every augmentation and every teacher's box.
        variants: how many variants of each image, by source.
        default_variants: the same for sources that are not named.
        zoom: probability of a crop around a target, by source.
        teacher_boxes: how many random boxes the teacher tries in an image.
        masks: most masks of an image; the teacher fills up what labels leave.
        teacher_beside_labels: most teacher's masks in an image that has labels.
    """

    seed: int = 0
    variants: Mapping[str, int] = field(default_factory=dict)
    default_variants: int = 1
    zoom: Mapping[str, float] = field(default_factory=dict)
    teacher_boxes: int = 32
    masks: int = 16
    teacher_beside_labels: int = 3


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One variant of one image.

    Attributes:
        image: (h, w) or (h, w, 3) uint8, as augmented; for recipes that train the encoder too.
        embedding: (1, C, h, w) float16, of the base model's encoder.
        masks: (n, S, S) bool on the canvas, n at least 1.
        labelled: (n,) bool, whether a person's label or a teacher's.
        input_size: (height, width) of the image on the canvas.
        source: the sample's.
    """

    image: NDArray[np.uint8]
    embedding: NDArray[np.float16]
    masks: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    input_size: tuple[int, int]
    source: str


class TrainingSet:
    """The files of a prepared collection, in the order of their names."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(sorted(paths))

    def __len__(self) -> int:
        return len(self.paths)

    def sources(self) -> list[str]:
        """The source of every image, in order."""
        found = []
        for path in self.paths:
            with np.load(path) as stored:
                found.append(str(stored["source"]))
        return found

    def digest(self) -> str:
        """SHA-256 (hex) of all files' contents, in order."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def __getitem__(self, index: int) -> TrainingImage:
        """Read one image."""
        with np.load(self.paths[index]) as stored:
            side = int(stored["side"])
            count = len(stored["labelled"])
            masks = np.unpackbits(stored["masks"], count=count * side * side).reshape(count, side, side) > 0
            height, width = (int(size) for size in stored["input_size"])
            return TrainingImage(
                image=stored["image"],
                embedding=stored["embedding"],
                masks=masks,
                labelled=stored["labelled"],
                input_size=(height, width),
                source=str(stored["source"]),
            )


def prepare(
    samples: Sequence[Sample],
    bundle: Bundle,
    folder: Path,
    preparation: Preparation,
    on_progress: OnProgress | None = None,
    *,
    threads: int = 1,
) -> TrainingSet:
    """Write the training images of some samples; those that are there already stay.

    Args:
        samples: of the training split only.
        bundle: the base model: its encoder's embeddings, its decoder as teacher.
        folder: one for each preparation and base model.
        preparation: what to make of the samples.
        on_progress: see `OnProgress`.
        threads: of encoder and teacher.
    """
    folder.mkdir(parents=True, exist_ok=True)
    preparer = _Preparer(bundle, preparation, threads)
    work = [
        (s, variant)
        for s in samples
        for variant in range(preparation.variants.get(s.source, preparation.default_variants))
    ]
    paths = []
    for done, (sample, variant) in enumerate(work):
        path = folder / f"{sample.name}-v{variant}.npz"
        if not path.exists():
            preparer.write(sample, variant, path)
        if path.stat().st_size:
            paths.append(path)
        if on_progress is not None:
            on_progress(done + 1, len(work))
    return TrainingSet(paths)


class _Preparer:
    def __init__(self, bundle: Bundle, preparation: Preparation, threads: int) -> None:
        self._encoder = ImageEncoder(bundle, threads)
        self._teacher = BundlePredictor(bundle, self._encoder, threads)
        self._side = bundle.manifest.low_res_mask_size
        self._preparation = preparation

    def write(self, sample: Sample, variant: int, path: Path) -> None:
        """Write one training image, or an empty file where nothing is to be learnt from it."""
        random = np.random.default_rng([self._preparation.seed, zlib.crc32(sample.name.encode()), variant])
        strength = Strength(zoom_on_target=self._preparation.zoom.get(sample.source, Strength.zoom_on_target))
        boxes = [target.box for target in sample.targets]
        image, masks = augment(sample.image, list(_known_masks(sample)), boxes, random, strength)
        encoded = self._encoder(image)
        self._teacher.set_image(replace(sample, image=image, targets=(), spacing_mm=None))
        input_size = encoded.input_size
        placed = [on_canvas(mask, input_size, self._side) for mask in masks if mask.any()]
        labels = [mask for mask in placed if mask.sum() >= SMALLEST_MASK_PX and not fills(mask, input_size)]
        random.shuffle(labels)
        labels = labels[: self._preparation.masks]
        room = self._preparation.masks - len(labels)
        taught = sure_masks(
            self._teacher,
            encoded,
            random,
            boxes=self._preparation.teacher_boxes,
            kept=min(room, self._preparation.teacher_beside_labels) if labels else room,
        )
        if not labels and not taught:
            path.touch()
            return
        stored = np.stack([*labels, *taught])
        scratch = path.with_suffix(".partial")
        with scratch.open("wb") as file:
            np.savez(
                file,
                image=image,
                embedding=encoded.embedding.astype(np.float16),
                masks=np.packbits(stored),
                side=stored.shape[-1],
                labelled=np.array([True] * len(labels) + [False] * len(taught)),
                input_size=np.array(input_size),
                source=sample.source,
            )
        scratch.replace(path)


def on_canvas(mask: BoolMask, input_size: tuple[int, int], side: int) -> BoolMask:
    """A mask of an image on the model's canvas, (side, side): the pixels that are mostly inside."""
    placed = np.zeros((side, side), np.bool_)
    shrunk = cv2.resize(mask.astype(np.float32), input_size[::-1], interpolation=cv2.INTER_AREA)
    placed[: input_size[0], : input_size[1]] = shrunk >= 0.5
    return placed


def _known_masks(sample: Sample) -> Iterator[BoolMask]:
    """The targets' masks; of targets with a box only, the bright part in it."""
    grey = sample.image if sample.image.ndim == 2 else cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
    for target in sample.targets:
        yield bright_part(np.asarray(grey, np.uint8), target.box) if target.mask is None else target.mask


def fills(mask: BoolMask, input_size: tuple[int, int]) -> bool:
    """Whether a mask is nearly all of the image: then nothing tells it from its ground."""
    box = tight_box(mask)
    return bool(mask.sum() > 0.85 * input_size[0] * input_size[1]) or box.x_max - box.x_min < 1
