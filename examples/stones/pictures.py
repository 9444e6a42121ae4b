"""The example's pictures: a row per patient, each view with the stone enlarged.

Enlarged parts of radiographs have a contrast of their own. Coronal and axial views show the patient's right on the
left. Every view says that it is not for diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from examples.demo.pictures import NOTE
from examples.demo.truth import Mask
from examples.stones.found_stone import FoundStone
from examples.stones.real_stone import FoundRealStone
from examples.stones.stone import Float
from examples.stones.stone_in_xray import XrayMask
from hilum import Image, ImageGeometry
from hilum.intensity import grey_levels
from hilum.types import Fusion

FOUND, CLICK, TRUE, SEEN = "#35d0ba", "#ffb454", "#ff6ad5", "#6ab0ff"
INSET, INSET_MM = 0.42, 44.0
# Smaller ones are one or two voxels.
_REAL_SHOWN = 4
_REAL_INSET_MM = 26.0


@dataclass(frozen=True)
class Mark:
    """A point (x, y) in a view's pixels and how it is drawn."""

    name: str
    pixel: Float
    marker: str
    colour: str


@dataclass(frozen=True)
class Outline:
    """Lines (n, 2) around a mask, in a view's pixels, and how they are drawn."""

    name: str
    lines: Sequence[Float]
    colour: str = FOUND


@dataclass(frozen=True)
class View:
    """One picture of the stone.

    Attributes:
        title: what it is.
        pixels: uint8, grey (height, width) or RGB (height, width, 3).
        middle: (2,), the pixel that is enlarged.
        pixel_mm: side of a pixel.
        outlines: around what was found.
        marks: points.
        stretched: whether the enlarged part has a contrast of its own: stones are faint in radiographs.
        enlarged_mm: side of what is enlarged.
    """

    title: str
    pixels: NDArray[np.uint8]
    middle: Float
    pixel_mm: float
    outlines: Sequence[Outline] = ()
    marks: Sequence[Mark] = ()
    stretched: bool = False
    enlarged_mm: float = INSET_MM


def views(found: FoundStone, seen: XrayMask, fusion: Fusion) -> list[View]:
    """CT slice, projection, X-ray and the fused image of one stone; `seen` is the decoder's mask in the X-ray."""
    case, grid = found.case, found.case.patient.grid
    point = case.prompt.points[0]
    lines = _lines(found.mask)
    outlines = [Outline("found", lines)]
    in_xray = [
        Outline("from the CT", [found.transform.apply(line) for line in lines]),
        Outline("boxed here", _lines(seen.mask), SEEN),
    ]
    projected = grid.resample(found.projection.pixels).astype(np.float32)
    projection = Image(projected, ImageGeometry(case.ct.geometry.frame))
    mapped = [] if found.xray_px is None else [Mark("found", found.xray_px, "+", FOUND)]
    stone, mm = case.placed.stone, grid.spacing_mm
    clicked = Mark("click", np.array([point.x, point.y]), "x", CLICK)
    true = Mark("true place", case.xray_px, "o", TRUE)
    return [
        View(
            f"{case.patient.name} CT, synthetic stone: {stone.size_mm:.0f} mm, {stone.hounsfield:.0f} HU",
            grey_levels(case.ct),
            case.ct_px,
            mm,
            outlines,
            [clicked],
        ),
        View("its projection", grey_levels(projection), case.ct_px, mm, stretched=True),
        View(
            f"simulated X-ray, {found.error_mm:.1f} mm off",
            grey_levels(case.xray),
            case.xray_px,
            mm,
            in_xray,
            [true, *mapped],
            stretched=True,
        ),
        View("CT slice under the registered X-ray", fusion.fused, case.ct_px, mm, outlines),
    ]


def write(path: Path, rows: Sequence[Sequence[View]]) -> None:
    """Write the views as one picture."""
    columns = len(rows[0])
    heights = [row[0].pixels.shape[0] / row[0].pixels.shape[1] for row in rows]
    figure = Figure(figsize=(3.3 * columns, sum(3.3 * height + 0.3 for height in heights)), layout="constrained")
    figure.set_facecolor("black")
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for row, shown in zip(axes, rows, strict=True):
        for axis, view in zip(row, shown, strict=True):
            _draw(axis, view)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, facecolor="black")


def real_views(found: Sequence[FoundRealStone]) -> list[list[View]]:
    """A row of each plane: the largest stones with the outlines that a click gave and the labels'."""
    rows: dict[str, list[View]] = {}
    for each in found:
        if each.how == "click" and each.stone.number <= _REAL_SHOWN:
            rows.setdefault(each.stone.plane, []).append(_real_view(each))
    return list(rows.values())


def _real_view(found: FoundRealStone) -> View:
    stone, point = found.stone, found.prompt.points[0]
    rows, columns = np.nonzero(stone.outline)
    mask_mm, labels_mm = found.diameters_mm
    return View(
        f"{stone.plane}, real stone {stone.number}: {mask_mm:.1f} mm, labels {labels_mm:.1f} mm",
        grey_levels(stone.image),
        np.array([columns.mean(), rows.mean()]),
        stone.pixel_mm,
        [Outline("found", _lines(found.mask)), Outline("labels", _lines(stone.outline), TRUE)],
        [Mark("click", np.array([point.x, point.y]), "x", CLICK)],
        enlarged_mm=_REAL_INSET_MM,
    )


def _lines(mask: Mask) -> list[Float]:
    if not mask.any():
        return []
    contours = Figure().subplots().contour(mask, levels=[0.5])
    return [np.asarray(line, np.float64) for line in contours.allsegs[0]]


def _draw(axes: Axes, view: View) -> None:
    height, width = view.pixels.shape[:2]
    rim = [withStroke(linewidth=2.5, foreground="black")]
    _show(axes, view)
    axes.set_title(view.title, color="white", fontsize=8.5)
    axes.text(0.015 * width, 0.06 * height, "R", color="white", fontsize=11, path_effects=rim)
    axes.text(0.985 * width, 0.985 * height, NOTE, color="white", fontsize=6, ha="right", va="bottom", path_effects=rim)
    # The corner that is farthest from the stone.
    left = 0.02 if view.middle[0] > width / 2 else 0.98 - INSET
    bottom = 0.98 - INSET if view.middle[1] > height / 2 else 0.06
    inset = axes.inset_axes((left, bottom, INSET, INSET))
    _show(inset, view)
    half = view.enlarged_mm / 2 / view.pixel_mm
    x, y = view.middle
    inset.set_xlim(x - half, x + half)
    inset.set_ylim(y + half, y - half)
    if view.stretched:
        rows, columns = (slice(max(0, round(at - half)), round(at + half)) for at in (y, x))
        inset.images[0].set_clim(*np.percentile(view.pixels[rows, columns], (1, 99)))
    for outline in view.outlines:
        for number, line in enumerate(outline.lines):
            label = None if number else outline.name
            inset.plot(line[:, 0], line[:, 1], color=outline.colour, linewidth=1.0, label=label)
    for mark in view.marks:
        inset.plot(
            *mark.pixel,
            mark.marker,
            color=mark.colour,
            fillstyle="none",
            markersize=9,
            path_effects=rim,
            label=mark.name,
        )
    if view.marks or view.outlines:
        inset.legend(
            loc="lower center",
            ncols=2,
            fontsize=4.8,
            handlelength=1.0,
            markerscale=0.45,
            columnspacing=0.8,
            borderpad=0.2,
            framealpha=0.6,
            facecolor="black",
            labelcolor="white",
        )
    axes.indicate_inset_zoom(inset, edgecolor="white", alpha=0.8)


def _show(axes: Axes, view: View) -> None:
    axes.imshow(view.pixels, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_xticks([])
    axes.set_yticks([])
