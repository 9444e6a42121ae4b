"""Everything in a CT slice, found without prompts: the picture of docs/concepts/everything.md.

    python -m examples.everything [--out build/everything.png]

Starts the services, searches a coronal slice of the demo's CT with GenerateMasks on a grid of points, writes the
picture, and prints how well the best of the masks fits each organ of the slice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from examples.click.labels import CT_ORGANS
from examples.demo.accuracy import dice
from examples.demo.ct_volume import CtVolume, Label, load_ct_volume
from examples.demo.running_services import RunningServices
from examples.demo.truth import Mask, slice_of_largest_area, slice_truth
from examples.demo.working_grid import WorkingGrid
from hilum import CT_SOFT_TISSUE, Client
from hilum.generation import Generation, GenerationParameters
from hilum.results.generation_png import write_generation_png

IMAGE_WIDTH = 512
# A search takes long on two cores. The default model is less sure of itself than segment-anything's thresholds ask.
PARAMETERS = GenerationParameters(
    points_per_side=24, pred_iou_thresh=0.5, stability_score_thresh=0.5, min_mask_region_area=100
)
TIMEOUT_S = 600.0
SMALLEST_ORGAN_PX = 400


def organs_in(volume: CtVolume, grid: WorkingGrid, depth: int) -> dict[str, Mask]:
    """The slice's organs by name, those that are large enough to be looked for."""
    numbers = {name: tuple(n for n, other in CT_ORGANS.items() if other == name) for name in CT_ORGANS.values()}
    found = {name: slice_truth(volume, grid, depth, labels) for name, labels in numbers.items()}
    return {name: mask for name, mask in found.items() if mask.sum() >= SMALLEST_ORGAN_PX}


def best_fits(organs: dict[str, Mask], generation: Generation) -> dict[str, float]:
    """For each organ the Dice of the mask that fits it best."""
    masks = [found.mask for found in generation.masks]
    return {name: max((dice(mask, truth) for mask in masks), default=0.0) for name, truth in organs.items()}


def main() -> None:
    """Parse the command line, search, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/everything.png"))
    options = parser.parse_args()
    console = Console()
    volume = load_ct_volume()
    grid = WorkingGrid.over(volume, IMAGE_WIDTH)
    depth = slice_of_largest_area(volume, (Label.LIVER,))
    image = grid.slice_image(volume, depth, CT_SOFT_TISSUE)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        console.status("searching ..."),
        RunningServices(options.out.with_suffix(".log")) as services,
        Client(services.endpoints, timeout_s=TIMEOUT_S) as client,
    ):
        generation = client.generate_masks(image, parameters=PARAMETERS)
    write_generation_png(options.out, image, generation)
    fits = best_fits(organs_in(volume, grid, depth), generation)
    table = Table("organ", "Dice of the best mask", title=f"{len(generation.masks)} masks of {generation.model}")
    for name, fit in sorted(fits.items(), key=lambda entry: -entry[1]):
        table.add_row(name, f"{fit:.3f}")
    console.print(table)
    console.print(f"mean over {len(fits)} organs: {np.mean(list(fits.values())):.3f}; picture: {options.out}")


if __name__ == "__main__":
    main()
