"""Whether outlines of targets cost a registration anything, and what they bring where the images alone fail.

    python -m benchmarks.masks [--pairs N] [--data FOLDER]

Kind (a) of `benchmarks/deformable_pairs.py`, reported patients and seeds, and its hard set (twice the rotation and
shift, a collimated beam, low dose). The target is the body's outline in the projection and, warped by the truth, in the
X-ray. The outlines are not a decoder's: each is made from the truth, then shifted by up to 4 px and grown or
shrunk by up to 4 px, each image by a draw of its own (`spoilt`), which is what a decoder's outlines miss by.

A case costs where its mean error with outlines is more than 1.05 times that without and the outlines were not dropped
as MASKS_REJECTED. Success: a mean error below 3 px of 256.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.deformable import DEFAULT, SAMPLE_DATA, SUCCESS_PX, register
from benchmarks.deformable_pairs import FIRST_SEED, KnownPair, RadiographedVolume, radiographed_abdomen
from benchmarks.real_slices import Purpose
from benchmarks.report import machine, save, show
from examples.demo.ct_volume import load_ct_volume
from hilum.types import BoolMask

PAIRS = 4
COST = 1.05
_REACH_PX = 4


@dataclass(frozen=True)
class Case:
    """Mean errors of one pair, in px, and whether its outlines were rejected."""

    name: str
    without_px: float
    with_px: float
    rejected: bool

    @property
    def costs(self) -> bool:
        """Whether outlines made it worse."""
        return self.with_px > COST * self.without_px


def outlined(pair: KnownPair, seed: int) -> KnownPair:
    """The pair with the body's outline in both images, each spoilt."""
    random = np.random.default_rng((seed, 5))
    targets = spoilt(pair.body, random), spoilt(moved_body(pair), random)
    fixed, moving = (replace(image, targets=(t,)) for image, t in zip((pair.fixed, pair.moving), targets, strict=True))
    return replace(pair, fixed=fixed, moving=moving)


def moved_body(pair: KnownPair) -> BoolMask:
    """The fixed image's body where the truth puts it in the moving image, as far as that is exposed."""
    landed = np.zeros(pair.moving.size, np.uint8)
    columns, rows = np.rint(pair.truth[pair.body].T).astype(np.intp)
    inside = (columns >= 0) & (columns < landed.shape[1]) & (rows >= 0) & (rows < landed.shape[0])
    landed[rows[inside], columns[inside]] = 1
    # Where the body is stretched, pixels of the moving image lie between those that land.
    closed = cv2.morphologyEx(landed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return np.asarray((closed > 0) & pair.moving.usable, np.bool_)


def spoilt(mask: BoolMask, random: np.random.Generator) -> BoolMask:
    """Shifted by up to 4 px along each axis and grown or shrunk by up to 4 px."""
    x, y = random.integers(-_REACH_PX, _REACH_PX + 1, 2).tolist()
    grown = int(random.integers(-_REACH_PX, _REACH_PX + 1))
    moved = np.asarray(
        cv2.warpAffine(mask.astype(np.uint8), np.array([[1.0, 0, x], [0, 1.0, y]]), mask.shape[::-1]), np.uint8
    )
    window: NDArray[np.uint8] = cv2.getStructuringElement(
        cv2.MORPH_ELLIPSE, (2 * abs(grown) + 1, 2 * abs(grown) + 1)
    ).astype(np.uint8)
    changed = cv2.dilate(moved, window) if grown > 0 else cv2.erode(moved, window)
    return np.asarray(changed > 0, np.bool_)


def compare(pair: KnownPair, seed: int) -> Case:
    """Register a pair without and with outlines."""
    without, steered = register(pair, DEFAULT), register(outlined(pair, seed), DEFAULT)
    rejected = "MASKS_REJECTED" in steered.outcome.flags
    return Case(pair.name, float(without.body_px.mean()), float(steered.body_px.mean()), rejected)


def show_set(title: str, cases: Sequence[Case]) -> dict[str, float]:
    """Print a row a case; figures."""
    table = Table("pair", "without px", "with px", "", title=f"{title} ({machine()})")
    for case in cases:
        remarks = ("costs " if case.costs else "") + ("MASKS_REJECTED" if case.rejected else "")
        table.add_row(case.name, f"{case.without_px:.3f}", f"{case.with_px:.3f}", remarks)
    Console(width=100).print(table)
    return {
        "without_px": statistics.mean(case.without_px for case in cases),
        "with_px": statistics.mean(case.with_px for case in cases),
        "success_without": statistics.mean(case.without_px < SUCCESS_PX for case in cases),
        "success_with": statistics.mean(case.with_px < SUCCESS_PX for case in cases),
        "cost_unflagged": float(sum(case.costs and not case.rejected for case in cases)),
        "rejected": float(sum(case.rejected for case in cases)),
        "cases": float(len(cases)),
    }


def measure(count: int = PAIRS, data: Path = SAMPLE_DATA) -> dict[str, float]:
    """Compare both sets, so many pairs of each patient; without the sample data, of the demo's chest alone."""
    volumes = [RadiographedVolume.of("chest", load_ct_volume())]
    if data.is_dir():
        volumes.append(radiographed_abdomen(data))
    else:
        print(f"the chest only: there is no sample data in {data}; name its folder with --data")
    first = FIRST_SEED[Purpose.REPORT]
    figures: dict[str, float] = {}
    for name, hard in (("plain", False), ("hard", True)):
        cases = [
            compare(volume.pair(seed, hard=hard), seed) for volume in volumes for seed in range(first, first + count)
        ]
        found = show_set(f"Kind (a), {name}", cases)
        figures |= {f"masks_{name}_{key}": value for key, value in found.items()}
    return figures


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each patient and set")
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    options = parser.parse_args()
    figures = measure(options.pairs, options.data)
    show("masks", figures)
    save(figures)


if __name__ == "__main__":
    main()
