"""Stones found in a CT and carried into an X-ray: `python -m examples.stones [--seeds N]`.

Synthetic stones in the kidneys of two real CT volumes, a simulated X-ray of the body after a known motion, one click on
the stone in a coronal CT slice. Starts the services on free loopback ports, outlines the stone, registers the CT's
projection to the X-ray, and says how far from its true place in the X-ray the stone's centre comes to lie.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from examples.demo.running_services import RunningServices
from examples.stones.case import Case
from examples.stones.found_stone import MISSED_DICE, FoundStone
from examples.stones.patient import KIDNEY_STONES, Patient, abdomen, chest
from examples.stones.pictures import views, write
from hilum import Client, TransformModel

FOLDER = Path("build/stones")
DEPTH_NOTE = (
    "Depth is not known: one projection says where along its plane a stone lies, not how far behind it. "
    "Synthetic stones, simulated X-rays; not for diagnosis."
)


def patients(console: Console) -> Iterator[Patient]:
    """The volumes that this machine has."""
    yield chest()
    if KIDNEY_STONES.is_dir():
        yield abdomen()
    else:
        console.print("The abdomen CT is left out: shared/data/ct_kidney_stones beside the checkout is absent.")


def print_results(console: Console, found: Sequence[FoundStone]) -> None:
    """Print errors per volume, then each stone that a click missed."""
    table = Table(title="In-plane error of the stone's centre in the X-ray, mm")
    for name in ("CT", "stones", "missed", "before", "mean", "p95", "max", "regis-\ntration", "Dice"):
        table.add_column(name, justify="left" if name == "CT" else "right")
    names = list(dict.fromkeys(stone.case.patient.name for stone in found))
    for name in names:
        table.add_row(name, *_figures([stone for stone in found if stone.case.patient.name == name]))
    if len(names) > 1:
        table.add_row("all", *_figures(found))
    console.print(table)
    for stone in found:
        if stone.missed:
            case = stone.case
            console.print(
                f"missed (Dice below {MISSED_DICE}): {case.patient.name}, seed {case.seed}, "
                f"{case.placed.stone.kind} of {case.placed.stone.size_mm:.0f} mm, "
                f"{case.placed.stone.hounsfield:.0f} HU: Dice {stone.dice:.2f}, error {stone.error_mm:.1f} mm"
            )
    console.print(DEPTH_NOTE)


def _figures(found: Sequence[FoundStone]) -> list[str]:
    """Of all stones with an outline, missed or not."""
    errors = np.array([stone.error_mm for stone in found])
    errors = errors[np.isfinite(errors)]
    return [
        str(len(found)),
        str(sum(stone.missed for stone in found)),
        f"{np.mean([stone.shift_mm for stone in found]):.1f}",
        f"{errors.mean():.2f}",
        f"{np.percentile(errors, 95):.2f}",
        f"{errors.max():.2f}",
        f"{np.mean([stone.registration_mm for stone in found]):.2f}",
        f"{np.mean([stone.dice for stone in found]):.2f}",
    ]


def run(seeds: Sequence[int], model: TransformModel, folder: Path, console: Console) -> list[FoundStone]:
    """Find a stone per seed and volume, print how well, and draw the first of each volume."""
    folder.mkdir(parents=True, exist_ok=True)
    found, rows = [], []
    with RunningServices(folder / "services.log") as services, Client(services.endpoints) as client:
        for patient in patients(console):
            for seed in seeds:
                with console.status(f"{patient.name}, stone {seed} ..."):
                    stone = FoundStone.of(client, Case.drawn(patient, seed), model)
                    if seed == seeds[0]:
                        rows.append(views(stone, stone.fused(client)))
                found.append(stone)
    print_results(console, found)
    picture = folder / "stones.png"
    write(picture, rows)
    console.print(f"Picture: {picture}")
    return found


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many stones per volume")
    parser.add_argument("--first-seed", type=int, default=0, help="100 for those that settings were chosen on")
    parser.add_argument("--model", choices=["affine", "deformable"], default="affine")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the picture")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    run(seeds, TransformModel[options.model.upper()], options.out, Console())


if __name__ == "__main__":
    main()
