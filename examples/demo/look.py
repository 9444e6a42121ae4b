"""Write pictures of the demo's images and ground truth: `python -m examples.demo.look FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, CtVolume, Label, load_ct_volume
from examples.demo.known_motion import KnownMotion
from examples.demo.simulated_xray import material_paths, simulate_xray
from examples.demo.truth import (
    LungProjection,
    jittered_box,
    projected_body,
    slice_of_largest_area,
    slice_truth,
)
from examples.demo.working_grid import WorkingGrid

SOFT_TISSUE_WINDOW = (-160.0, 240.0)
LUNG_WINDOW = (-1350.0, 150.0)
COLOURS = ("tab:cyan", "tab:orange", "tab:green")


def main() -> None:
    """Write ct.png and xray.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the motion and the noise")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    volume = load_ct_volume()
    grid = WorkingGrid.over(volume)
    _ct_picture(volume, grid).savefig(arguments.folder / "ct.png", dpi=100)
    _xray_picture(volume, grid, arguments.seed).savefig(arguments.folder / "xray.png", dpi=100)


def _ct_picture(volume: CtVolume, grid: WorkingGrid) -> Figure:
    figure = Figure(figsize=(18, 6), layout="constrained")
    axes = figure.subplots(1, 3)
    liver = slice_of_largest_area(volume, (Label.LIVER,))
    lungs = slice_of_largest_area(volume, RIGHT_LUNG + LEFT_LUNG)
    _show(axes[0], grid.resample(volume.hounsfield[liver], outside=-1024), SOFT_TISSUE_WINDOW, "CT, liver")
    _outline(axes[0], [slice_truth(volume, grid, liver, (Label.LIVER,))])
    _show(axes[1], grid.resample(volume.hounsfield[lungs], outside=-1024), LUNG_WINDOW, "CT, lungs")
    _outline(axes[1], [slice_truth(volume, grid, lungs, lung) for lung in (RIGHT_LUNG, LEFT_LUNG)])
    half = round(10 / volume.spacing_mm[0])
    slab = volume.hounsfield[liver - half : liver + half].mean(axis=0)
    _show(axes[2], grid.resample(slab, outside=-1024), SOFT_TISSUE_WINDOW, "CT, mean of a 20 mm slab")
    return figure


def _xray_picture(volume: CtVolume, grid: WorkingGrid, seed: int) -> Figure:
    figure = Figure(figsize=(18, 6), layout="constrained")
    axes = figure.subplots(1, 3)
    paths = material_paths(volume)
    motion = KnownMotion.from_seed(seed)
    still = simulate_xray(volume, paths, grid, KnownMotion(), seed)
    moved = simulate_xray(volume, paths, grid, motion, seed)
    _show(axes[0], still.pixels, (0, 4095), "simulated X-ray")
    to_fixed = motion.moving_to_fixed(grid)
    for axis, title in zip(axes[1:], ("after the known motion", "truth and jittered boxes"), strict=True):
        _show(axis, moved.pixels, (0, 4095), f"simulated X-ray, {title}")
    lungs = [LungProjection.of(volume, lung).field(grid, to_fixed) for lung in (RIGHT_LUNG, LEFT_LUNG)]
    _outline(axes[2], [*lungs, projected_body(volume, grid, to_fixed)])
    for lung, colour in zip(lungs, COLOURS, strict=False):
        box = jittered_box(lung, seed)
        xs = (box.x_min, box.x_max, box.x_max, box.x_min, box.x_min)
        ys = (box.y_min, box.y_min, box.y_max, box.y_max, box.y_min)
        axes[2].plot(xs, ys, color=colour, linestyle="--", linewidth=1)
    return figure


def _show(axis: Axes, image: npt.NDArray[np.generic], window: tuple[float, float], title: str) -> None:
    axis.imshow(image, cmap="gray", vmin=window[0], vmax=window[1])
    axis.set_title(f"{title} (not for diagnosis)")
    axis.text(4, 14, "R", color="white", fontsize=14)
    axis.set_axis_off()


def _outline(axis: Axes, masks: list[npt.NDArray[np.bool_]]) -> None:
    for mask, colour in zip(masks, COLOURS, strict=False):
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1)


if __name__ == "__main__":
    main()
