"""Samples: images with known targets, for training and evaluation.

A collection is a folder with an `index.json`: a list of samples, each an image (PNG or JPEG, grey levels as a model
sees them, after windowing), its targets (each a PNG mask, or only a box), and who was imaged. Splits are by patient:

    {"samples": [{"name": "liver-07", "image": "images/liver-07.png", "source": "ct-organs", "modality": "CT",
                  "patient": "amos_0004", "split": "test", "spacing_mm": [0.7, 0.7], "simulated": false,
                  "targets": [{"label": "liver", "mask": "masks/liver-07-0.png"}, {"label": "stone",
                               "box": [10.5, 20.5, 18.5, 30.5]}]}]}
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from hilum.errors import HilumError
from hilum.types import BoolMask, Box

Split: TypeAlias = Literal["train", "validation", "test"]
INDEX_FILENAME = "index.json"


class CollectionError(HilumError):
    """A collection's index or one of its files is missing or unreadable."""


@dataclass(frozen=True, eq=False)
class Target:
    """Something to be found in an image.

    Attributes:
        label: what it is, such as "liver".
        mask: (height, width) bool; None where only a box is known.
        box: the box that its annotator drew, in pixels of the image; the mask's tight box where there is a mask.
    """

    label: str
    mask: BoolMask | None
    box: Box


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its targets.

    Attributes:
        name: unique within a collection.
        image: (height, width) or (height, width, 3) uint8, grey levels or RGB as a model gets them.
        targets: what is known to be in it; empty for unlabelled images.
        source: the data set it came from.
        modality: DICOM Modality (0008,0060), such as "CT", "MR", "US"; "OT" for others.
        patient: who was imaged, an opaque name unique within the source: samples of one patient are not independent.
        split: what it may be used for.
        spacing_mm: (x, y) between pixel centres; None where unknown.
        simulated: whether the image was computed, not acquired.
    """

    name: str
    image: NDArray[np.uint8]
    targets: tuple[Target, ...] = field(repr=False)
    source: str
    modality: str
    patient: str
    split: Split = "test"
    spacing_mm: tuple[float, float] | None = None
    simulated: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.image.shape[0]), int(self.image.shape[1])


def tight_box(mask: BoolMask) -> Box:
    """The box around a mask's pixels, edges at pixel borders.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("an empty mask has no box")
    return Box(columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5)


def mask_target(label: str, mask: BoolMask) -> Target:
    """A target known by its mask, which must not be empty."""
    return Target(label, mask, tight_box(mask))


def read_collection(folder: Path, splits: Sequence[Split] = get_args(Split)) -> Iterator[Sample]:
    """Yield a collection's samples of some splits, in the index's order.

    Raises:
        CollectionError: the index or a file it names is missing, unreadable, or of another shape than its image.
    """
    for entry in read_index(folder):
        if entry.get("split", "test") in splits:
            yield _sample(folder, entry)


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The entries of a collection's index.

    Raises:
        CollectionError: there is none, or it is not as described above.
    """
    path = folder / INDEX_FILENAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["samples"]
    except FileNotFoundError as error:
        raise CollectionError(f"{path} does not exist: {folder} is no collection") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CollectionError(f"{path} is not a collection's index: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CollectionError(f'{path}: "samples" is not a list of objects')
    return entries


def write_collection(folder: Path, samples: Iterable[Sample]) -> None:
    """Write samples as a collection; the index comes last, so that an interrupted one is none.

    Raises:
        CollectionError: two samples have one name, and would have one file.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    entries: dict[str, dict[str, Any]] = {}
    for sample in samples:
        if sample.name in entries:
            raise CollectionError(f"two samples are named {sample.name!r}; give one of them another name")
        entries[sample.name] = _write_sample(folder, sample)
    text = json.dumps({"samples": list(entries.values())}, indent=1) + "\n"
    (folder / INDEX_FILENAME).write_text(text, encoding="utf-8")


def _sample(folder: Path, entry: dict[str, Any]) -> Sample:
    try:
        image = _read_picture(folder / entry["image"])
        targets = tuple(_target(folder, target, image.shape[:2]) for target in entry.get("targets", ()))
        spacing = entry.get("spacing_mm")
        return Sample(
            name=entry["name"],
            image=image,
            targets=targets,
            source=entry["source"],
            modality=entry["modality"],
            patient=entry["patient"],
            split=entry.get("split", "test"),
            spacing_mm=(float(spacing[0]), float(spacing[1])) if spacing else None,
            simulated=bool(entry.get("simulated", False)),
        )
    except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise CollectionError(f"{folder / INDEX_FILENAME}: sample {entry.get('name', '?')!r}: {error!r}") from error


def _target(folder: Path, entry: dict[str, Any], size: tuple[int, ...]) -> Target:
    if "mask" not in entry:
        return Target(entry["label"], None, Box(*map(float, entry["box"])))
    picture = _read_picture(folder / entry["mask"])
    mask = np.asarray(picture > 0 if picture.ndim == 2 else (picture > 0).any(axis=2), np.bool_)
    if mask.shape != size:
        raise ValueError(f"{entry['mask']} is {mask.shape}, its image {size}")
    return mask_target(entry["label"], mask)


def _read_picture(path: Path) -> NDArray[np.uint8]:
    with PillowImage.open(path) as picture:
        grey = picture.mode in ("L", "1", "I;16")
        return np.asarray(picture.convert("L" if grey else "RGB"))


def _write_sample(folder: Path, sample: Sample) -> dict[str, Any]:
    image = f"images/{sample.name}.png"
    PillowImage.fromarray(sample.image).save(folder / image)
    targets: list[dict[str, Any]] = []
    for number, target in enumerate(sample.targets):
        entry: dict[str, Any] = {"label": target.label}
        if target.mask is None:
            entry["box"] = [target.box.x_min, target.box.y_min, target.box.x_max, target.box.y_max]
        else:
            entry["mask"] = f"masks/{sample.name}-{number}.png"
            PillowImage.fromarray(target.mask.astype(np.uint8) * 255).save(folder / entry["mask"])
        targets.append(entry)
    fields = {name: getattr(sample, name) for name in ("name", "source", "modality", "patient", "split", "simulated")}
    spacing = list(sample.spacing_mm) if sample.spacing_mm else None
    return fields | {"image": image, "spacing_mm": spacing, "targets": targets}
