"""How well box prompts find organs in the demo's images: `python -m examples.demo.accuracy`, beside running services.

The rules: the liver in the coronal slice where it is largest, in the soft-tissue window; each lung in the slice where
both lungs together are largest, in the lung window; ten boxes each, every edge jittered by up to 5 px. Each lung in ten
simulated X-rays after the ten known motions, one jittered box each. Everything is measured at 256 columns, pixels of
1.406 mm, and at the demo's 512, the scanner's own .703 mm, where 5 px are half as far.

One slice is one sample, so the liver is also measured in every twelfth slice with at least half its largest area,
where nothing is required.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, CtVolume, Label, load_ct_volume
from examples.demo.known_motion import MOTION_SEEDS, KnownMotion
from examples.demo.simulated_xray import material_paths, simulate_xray
from examples.demo.truth import LungProjection, Mask, jittered_box, slice_of_largest_area, slice_truth
from examples.demo.working_grid import WorkingGrid
from hilum import CT_LUNG, CT_SOFT_TISSUE, Box, Client, Image, Prompt, Window

Segment: TypeAlias = Callable[[Image, Box], Mask]

BOX_SEEDS: Final = tuple(range(10))
LUNGS: Final = {"right lung": RIGHT_LUNG, "left lung": LEFT_LUNG}
SLICE_STEP: Final = 12
# Columns of the demo's images, and of those measured here.
IMAGE_WIDTH: Final = 512
MEASURED_WIDTHS: Final = (256, IMAGE_WIDTH)


@dataclass(frozen=True)
class Accuracy:
    """Dice coefficients of one target in one kind of image.

    Attributes:
        target: the organ.
        image: what it was segmented in.
        dice: one value per jittered box.
        required: the mean that is asked for; None where none is.
    """

    target: str
    image: str
    dice: tuple[float, ...]
    required: float | None = None

    @property
    def mean(self) -> float:
        """Mean over the boxes."""
        return float(np.mean(self.dice))


def dice(first: Mask, second: Mask) -> float:
    """2 |A and B| / (|A| + |B|); 1 for two empty masks."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def measure(volume: CtVolume, segment: Segment, width: int) -> Iterator[Accuracy]:
    """Segment every target and compare with the truth.

    Args:
        volume: the CT.
        segment: returns the mask, shape (height, width), for a box in an image under the image's own window.
        width: columns of the images.
    """
    grid = WorkingGrid.over(volume, width)
    liver = SliceTarget("liver", (Label.LIVER,), slice_of_largest_area(volume, (Label.LIVER,)), CT_SOFT_TISSUE, 0.93)
    yield liver.measure(volume, grid, segment)
    depth = slice_of_largest_area(volume, RIGHT_LUNG + LEFT_LUNG)
    for name, labels in LUNGS.items():
        yield SliceTarget(name, labels, depth, CT_LUNG, 0.92).measure(volume, grid, segment)
    yield from _in_xrays(volume, grid, segment)
    areas = volume.mask(liver.labels).sum(axis=(1, 2))
    for depth in range(liver.depth % SLICE_STEP, areas.size, SLICE_STEP):
        if depth != liver.depth and 2 * areas[depth] >= areas.max():
            yield replace(liver, depth=depth, required=None).measure(volume, grid, segment)


@dataclass(frozen=True)
class SliceTarget:
    """An organ in one coronal slice under one window."""

    name: str
    labels: tuple[int, ...]
    depth: int
    window: Window
    required: float | None

    def measure(self, volume: CtVolume, grid: WorkingGrid, segment: Segment) -> Accuracy:
        """Segment it through each of the jittered boxes."""
        image = grid.slice_image(volume, self.depth, self.window)
        truth = slice_truth(volume, grid, self.depth, self.labels)
        found = tuple(dice(segment(image, jittered_box(truth, seed)), truth) for seed in BOX_SEEDS)
        return Accuracy(self.name, f"CT, coronal slice {self.depth}", found, self.required)


def _in_xrays(volume: CtVolume, grid: WorkingGrid, segment: Segment) -> Iterator[Accuracy]:
    paths = material_paths(volume)
    motions = {seed: KnownMotion.from_seed(seed) for seed in MOTION_SEEDS}
    images = {seed: simulate_xray(volume, paths, grid, motion, seed).image for seed, motion in motions.items()}
    for name, labels in LUNGS.items():
        projection = LungProjection.of(volume, labels)
        truths = {seed: projection.field(grid, motion.moving_to_fixed(grid)) for seed, motion in motions.items()}
        found = (dice(segment(images[seed], jittered_box(truth, seed)), truth) for seed, truth in truths.items())
        yield Accuracy(name, "simulated X-ray, 10 motions", tuple(found), 0.85)


def main() -> None:
    """Print one row per image size and target, from the services at the addresses of the environment."""
    volume = load_ct_volume()
    with Client() as client:

        def segment(image: Image, box: Box) -> Mask:
            return client.predict(image, [Prompt(box=box)]).masks[0][0].mask

        print(f"{'columns':9}{'target':12}{'image':30}{'mean Dice':>10}{'least':>8}{'required':>10}")
        for width in MEASURED_WIDTHS:
            for row in measure(volume, segment, width):
                required = "" if row.required is None else f"{row.required:.2f}"
                numbers = f"{row.mean:10.3f}{min(row.dice):8.3f}{required:>10}"
                print(f"{width:<9}{row.target:12}{row.image:30}{numbers}", flush=True)


if __name__ == "__main__":
    main()
