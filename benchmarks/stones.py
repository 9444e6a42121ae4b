"""What a region around the prompt does for kidney stones: boxes jittered by 5 px on coronal CT slices.

The slices and their boxes (CC BY 4.0) lie beside the checkout, in shared/data/ct_stones_coronal_boxes. What is printed
comes from slices that nothing was fitted on: the default model's decoder was trained on those up to
`LAST_TRAINING_SLICE`, and the numbers of the region rule were chosen on every other slice. The true boxes are drawn
with a margin around the stones, so that a mask which fits its stone still has a smaller box: the two gains say how
encoding a region compares with encoding the whole slice, not how good a mask is. Its centre tells more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from benchmarks.report import ROOT, main
from examples.demo.running_services import RunningServices
from hilum import Box, Client, Image, Prompt
from hilum.images import read_image
from hilum.masks import bounding_box, centroid
from hilum.types import BoolMask

DATA = ROOT.parent / "shared" / "data" / "ct_stones_coronal_boxes"
JITTER_PX = 5.0
# examples/click trains on slices up to this one; 205 resembles one of them, slice 66.
LAST_TRAINING_SLICE = 119
LOOK_ALIKE_SLICES = (205,)
SEED = 20240501

RegionOption: TypeAlias = Literal["auto"] | None
Segment: TypeAlias = Callable[[Image, Sequence[Box], RegionOption], Sequence[BoolMask]]


@dataclass(frozen=True)
class Stone:
    """A stone's true box, and the box that a hurried user draws."""

    truth: Box
    drawn: Box


def measure() -> dict[str, float]:
    """Returns gains in box IoU and shares of centres inside, without and with a region; nothing without the data."""
    if not DATA.is_dir():
        print(f"no stones: {DATA.relative_to(ROOT.parent)} beside the checkout is absent")
        return {}
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningServices(Path(folder) / "services.log") as services,
        Client(services.endpoints) as client,
    ):

        def segment(image: Image, boxes: Sequence[Box], region: RegionOption) -> list[BoolMask]:
            answer = client.predict(image, [Prompt(box=box) for box in boxes], region=region)
            return [masks[0].model_mask for masks in answer.masks]

        return figures(segment, [slice_ for number, slice_ in enumerate(slices()) if held_out(number) and number % 2])


def figures(segment: Segment, chosen: Sequence[tuple[Image, list[Stone]]]) -> dict[str, float]:
    """Returns the four figures over some slices."""
    found: dict[str, float] = {}
    options: dict[str, RegionOption] = {"without_region": None, "with_region": "auto"}
    for name, region in options.items():
        gains, inside = [], []
        for image, stones in chosen:
            masks = segment(image, [stone.drawn for stone in stones], region)
            for stone, mask in zip(stones, masks, strict=True):
                gains.append(box_iou(bounding_box(mask), stone.truth) - box_iou(stone.drawn, stone.truth))
                inside.append(contains(stone.truth, centroid(mask)))
        found[f"stones_box_gain_{name}"] = float(np.mean(gains))
        found[f"stones_centre_inside_{name}"] = float(np.mean(inside))
    return found


def held_out(number: int) -> bool:
    """Whether the default model's decoder was not trained on a slice, nor on one much like it."""
    return number > LAST_TRAINING_SLICE and number not in LOOK_ALIKE_SLICES


def slices() -> Iterator[tuple[Image, list[Stone]]]:
    """Yields every slice with its stones; the jitter is the same on every run."""
    random = np.random.default_rng(SEED)
    for path in sorted((DATA / "images").iterdir()):
        image = read_image(path)
        lines = (DATA / "labels" / f"{path.stem}.txt").read_text().splitlines()
        truths = [yolo_box(line, image.size) for line in lines]
        yield image, [Stone(truth, jittered(truth, image.size, random)) for truth in truths]


def yolo_box(line: str, size: tuple[int, int]) -> Box:
    """Reads "class x y width height" in shares of the image, which count from its corner, half a pixel before ours."""
    x, y, width, height = (float(word) for word in line.split()[1:])
    rows, columns = size
    return Box(
        (x - width / 2) * columns - 0.5,
        (y - height / 2) * rows - 0.5,
        (x + width / 2) * columns - 0.5,
        (y + height / 2) * rows - 0.5,
    )


def jittered(box: Box, size: tuple[int, int], random: np.random.Generator) -> Box:
    """Moves each edge by up to JITTER_PX, keeps the box at least a pixel wide and high and inside the image."""
    edges = np.asarray([box.x_min, box.y_min, box.x_max, box.y_max]) + random.uniform(-JITTER_PX, JITTER_PX, 4)
    rows, columns = size
    x_min, x_max = _side(edges[0], edges[2], columns)
    y_min, y_max = _side(edges[1], edges[3], rows)
    return Box(x_min, y_min, x_max, y_max)


def _side(low: float, high: float, length: int) -> tuple[float, float]:
    """Both ends in order, at least a pixel apart, inside the image."""
    first = float(np.clip(min(low, high), -0.5, length - 1.5))
    return first, float(np.clip(max(low, high), first + 1, length - 0.5))


def box_iou(box: Box | None, truth: Box) -> float:
    """Intersection over union; 0 for no box."""
    if box is None:
        return 0.0
    width = min(box.x_max, truth.x_max) - max(box.x_min, truth.x_min)
    height = min(box.y_max, truth.y_max) - max(box.y_min, truth.y_min)
    common = max(width, 0.0) * max(height, 0.0)
    return common / (_area(box) + _area(truth) - common)


def contains(box: Box, point: tuple[float, float] | None) -> bool:
    """Whether a point lies in a box; no point lies nowhere."""
    return point is not None and box.x_min <= point[0] <= box.x_max and box.y_min <= point[1] <= box.y_max


def _area(box: Box) -> float:
    return (box.x_max - box.x_min) * (box.y_max - box.y_min)


if __name__ == "__main__":
    main(measure)
