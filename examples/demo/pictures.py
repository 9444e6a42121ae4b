"""The demo's pictures: inputs with prompts and outlines, checkerboards, the fused image.

Coronal views show the patient's right on the left, head up, in true proportions. Every picture says that it is not for
diagnosis, and which of its parts is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from examples.demo.truth import Mask
from hilum import Image, Prompt
from hilum.geometry import Float
from hilum.intensity import grey_levels

Grey = NDArray[np.uint8]
COLOURS = ("#35d0ba", "#ffb454", "#c792ea")
NOTE = "not for diagnosis"
TILES = 8
GRID_LINES = 24


@dataclass(frozen=True)
class Outline:
    """A prompt, the mask it gave, what it shows, and the model's score."""

    name: str
    prompt: Prompt
    mask: Mask
    model_score: float


@dataclass(frozen=True)
class Panel:
    """One view: grey levels, what was found in it, and lines (n, 2) in its pixels under a name and in a colour each."""

    title: str
    grey: Grey
    outlines: Sequence[Outline] = ()
    lines: Sequence[tuple[str, Sequence[Float]]] = ()


def panel(title: str, image: Image, outlines: Sequence[Outline] = ()) -> Panel:
    """Returns a view of an image under its own mapping."""
    return Panel(title, grey_levels(image), outlines)


def checkerboard(first: Grey, second: Grey) -> Grey:
    """Returns tiles of the two images in turn, 8 along the width: edges that run on from tile to tile are aligned."""
    side = max(1, first.shape[1] // TILES)
    rows, columns = np.indices(first.shape) // side
    return np.where((rows + columns) % 2 == 0, first, second)


def grid_lines(body: Mask, mapped: Callable[[Float], Float]) -> list[Float]:
    """Returns where the lines of a square grid over a body go, 24 along the picture's width, as lines (n, 2).

    Outside the body nothing is seen that says how anything moves: there the lines are left out, their points NaN.
    """
    height, width = body.shape
    step = width / GRID_LINES
    along_x, along_y = np.arange(0, width, 4.0), np.arange(0, height, 4.0)
    rows = [np.stack([along_x, np.full_like(along_x, y)], axis=1) for y in np.arange(step / 2, height, step)]
    columns = [np.stack([np.full_like(along_y, x), along_y], axis=1) for x in np.arange(step / 2, width, step)]
    lines = []
    for line in rows + columns:
        x, y = np.rint(line).astype(np.intp).T
        lines.append(np.where(body[y, x, None], mapped(line), np.nan))
    return lines


def write(path: Path, panels: Sequence[Panel], columns: int) -> None:
    """Writes panels as one picture."""
    rows = -(-len(panels) // columns)
    height, width = panels[0].grey.shape
    figure = Figure(figsize=(4.6 * columns, (4.6 * height / width + 0.35) * rows), layout="constrained")
    figure.set_facecolor("black")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, shown in zip(grid, panels, strict=False):
        _draw(axes, shown)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, facecolor="black")


def _draw(axes: Axes, shown: Panel) -> None:
    axes.imshow(shown.grey, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_title(shown.title, color="white", fontsize=11)
    height, width = shown.grey.shape
    # A dark rim keeps words readable on white.
    rim = [withStroke(linewidth=2.5, foreground="black")]
    axes.text(0.015 * width, 0.06 * height, "R", color="white", fontsize=13, fontweight="bold", path_effects=rim)
    axes.text(0.985 * width, 0.985 * height, NOTE, color="white", fontsize=7, ha="right", va="bottom", path_effects=rim)
    axes.set_axis_off()
    for outline, colour in zip(shown.outlines, COLOURS, strict=False):
        axes.contour(outline.mask, levels=[0.5], colors=[colour], linewidths=1.4)
        if (box := outline.prompt.box) is not None:
            xs = (box.x_min, box.x_max, box.x_max, box.x_min, box.x_min)
            ys = (box.y_min, box.y_min, box.y_max, box.y_max, box.y_min)
            axes.plot(xs, ys, color=colour, linestyle="--", linewidth=0.9)
        for point in outline.prompt.points:
            marker = "+" if point.foreground else "x"
            axes.plot(point.x, point.y, marker=marker, markersize=8, color=colour, path_effects=rim)
    for (name, lines), colour in zip(shown.lines, COLOURS, strict=False):
        for number, line in enumerate(lines):
            # A name with a leading underscore is not shown.
            label = f"_{name}" if number else name
            axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.9, alpha=0.9, label=label)
    if shown.lines:
        axes.legend(loc="lower left", fontsize=7, framealpha=0.6, facecolor="black", labelcolor="white")
    if shown.outlines:
        scores = ", ".join(f"{outline.model_score:.2f}" for outline in shown.outlines)
        words = f"model score {scores}"
        axes.text(0.015 * width, 0.985 * height, words, color="white", fontsize=7, va="bottom", path_effects=rim)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
