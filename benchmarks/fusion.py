"""How well and how fast two registered images are fused, by public measures and by what a surgeon looks for.

    python -m benchmarks.fusion [--picture FILE]

Rules: pixel maximum and average; the three-level pyramid with the founding paper's rule (3 x 3 window, match threshold
.7, base bands averaged); Hilum's default; the same with gradients; the same with the target emphasised. Measures count
inside the body, at data range 255 (benchmarks/fusion_measures.py). CNR is the targets' contrast to noise in the fused
picture, divided by that in the source that shows them better; blobs are bright blobs of more than 3 px that neither
source has (benchmarks/fusion_blobs.py). Pairs and what settings were chosen on: benchmarks/fusion_pairs.py.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.fusion_blobs import new_blobs
from benchmarks.fusion_measures import FusionMeasures
from benchmarks.fusion_pairs import Pair, PairSet, held_out
from benchmarks.fusion_picture import write_picture, write_styles
from benchmarks.fusion_speed import speed
from benchmarks.report import ROOT, save, show
from hilum.fusion_style import BaseRule, PyramidFusion
from hilum.types import BoolMask
from services.fusion.contrast import contrast_to_noise
from services.fusion.emphasis import Emphasis
from services.fusion.pyramid import fuse_images

PAPER = PyramidFusion(
    levels=3, base_rule=BaseRule.AVERAGE, window_px=3, match_threshold=0.7, energy_ratio=1.0, noise_floor=0.0
)
WITH_GRADIENTS = PyramidFusion(gradient_fidelity=1.0)
PICTURE = ROOT / "build" / "fusion.png"

Grey = NDArray[np.uint8]
Rule = Callable[[Pair, BoolMask | None], Grey]


@dataclass(frozen=True)
class Row:
    """What one rule reaches on one set.

    Attributes:
        measures: means over the pairs.
        cnr: mean contrast to noise of the targets against that of the better sources'; None without targets.
        blobs: bright blobs that neither source has, over all pairs.
    """

    measures: FusionMeasures
    cnr: float | None
    blobs: int


def pyramid(rule: PyramidFusion) -> Rule:
    """Fuses a pair by a pyramid's rule, whatever the target."""
    return lambda pair, _: _grey(fuse_images(_unit(pair.fixed), _unit(pair.moving), rule))


def emphasised(pair: Pair, target: BoolMask | None) -> Grey:
    """Fuses a pair by the default rule, with the target taken from the source that shows it better."""
    fixed, moving = _unit(pair.fixed), _unit(pair.moving)
    emphasis = None if target is None else Emphasis.on_target(target, fixed, moving)
    return _grey(fuse_images(fixed, moving, emphasis=emphasis))


RULES: dict[str, Rule] = {
    "maximum": lambda pair, _: np.maximum(pair.fixed, pair.moving),
    "average": lambda pair, _: _grey((_unit(pair.fixed) + _unit(pair.moving)) / np.float32(2)),
    "paper": pyramid(PAPER),
    "hilum": pyramid(PyramidFusion()),
    "gradients": pyramid(WITH_GRADIENTS),
    "target": emphasised,
}


def measure(picture: Path = PICTURE) -> dict[str, float]:
    """Fuse all pairs by all rules, print a table per set, write two pictures, and time the default."""
    figures: dict[str, float] = {}
    shown = []
    for pairs in held_out():
        rows = {name: evaluated(pairs.pairs, rule) for name, rule in RULES.items()}
        _show_rows(pairs, rows)
        figures |= _figures(pairs.name, rows)
        if "_" not in pairs.name:
            first = pairs.pairs[0]
            shown.append((pairs.title, first, {name: rule(first, None) for name, rule in RULES.items()}))
    write_picture(picture, shown)
    _, projections, fused = shown[0]
    write_styles(picture.with_stem(f"{picture.stem}-styles"), projections, fused)
    print(f"pictures: {picture.stem}.png and {picture.stem}-styles.png in {picture.parent}")
    return figures | speed(WITH_GRADIENTS)


def evaluated(pairs: list[Pair], rule: Rule) -> Row:
    """What a rule reaches on these pairs: measures with a pair's first target, contrast with each."""
    measured, kept, best, blobs = [], [], [], 0
    for pair in pairs:
        sources = pair.fixed, pair.moving
        fused = rule(pair, next(iter(pair.targets.values()), None))
        measured.append(FusionMeasures.of(fused, *sources, pair.body))
        blobs += new_blobs(fused, *sources)
        for target in pair.targets.values():
            kept.append(contrast_to_noise(rule(pair, target), target, pair.body))
            best.append(max(contrast_to_noise(source, target, pair.body) for source in sources))
    cnr = statistics.mean(kept) / statistics.mean(best) if kept else None
    return Row(FusionMeasures.mean(measured), cnr, blobs)


def _show_rows(pairs: PairSet, rows: dict[str, Row]) -> None:
    table = Table(title=f"({pairs.name[0]}) {pairs.title}, {len(pairs.pairs)} pairs")
    for column in ("rule", "EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM", "CNR", "blobs"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for name, row in rows.items():
        values = [f"{value:#.5g}" for value in astuple(row.measures)]
        table.add_row(name, *values, "" if row.cnr is None else f"{row.cnr:.2f}", str(row.blobs))
    # Wide enough for all columns, in a log too.
    Console(width=120).print(table)


def _figures(set_name: str, rows: dict[str, Row]) -> dict[str, float]:
    figures = {}
    for name, row in rows.items():
        for field in fields(row.measures):
            figures[f"fusion_{set_name}_{name}_{field.name}"] = float(getattr(row.measures, field.name))
        if row.cnr is not None:
            figures[f"fusion_{set_name}_{name}_cnr"] = row.cnr
        figures[f"fusion_{set_name}_{name}_blobs"] = float(row.blobs)
    return figures


def _unit(grey: Grey) -> NDArray[np.float32]:
    return grey.astype(np.float32) / np.float32(255)


def _grey(image: NDArray[np.float32]) -> Grey:
    return np.rint(image * 255).astype(np.uint8)


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where the pictures go")
    figures = measure(parser.parse_args().picture)
    show("fusion", {name: value for name, value in figures.items() if "1024" in name})
    save(figures)


if __name__ == "__main__":
    main()
