"""Stones found in a CT and carried into an X-ray: `python -m examples.stones [--seeds N]`.

Synthetic stones in the kidneys of two real CT volumes, a simulated X-ray of the body after a known motion, one click on
the stone in a coronal CT slice. Starts the services on free loopback ports, outlines the stone, registers the CT's
projection to the X-ray, and says how far from its true place in the X-ray the stone's centre comes to lie. The same
stones are prompted in the X-ray, too, and the real stones of the abdomen CT in two planes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from examples.demo.running_services import RunningServices
from examples.stones.case import Case
from examples.stones.found_stone import FoundStone
from examples.stones.patient import KIDNEY_STONES, Patient, abdomen, chest
from examples.stones.pictures import real_views, views, write
from examples.stones.real_stone import FoundRealStone, RealStone, real_stones
from examples.stones.stone_in_xray import StoneInXray, XrayMask
from examples.stones.tables import print_found, print_in_xray, print_real
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


def run(seeds: Sequence[int], model: TransformModel, folder: Path, console: Console) -> list[FoundStone]:
    """Find a stone per seed and volume in CT and X-ray, then the real ones; print how well, and draw."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[FoundStone] = []
    in_xray: dict[str, list[XrayMask]] = {"box": [], "click": []}
    rows = []
    with RunningServices(folder / "services.log") as services, Client(services.endpoints) as client:
        for patient in patients(console):
            for seed in seeds:
                with console.status(f"{patient.name}, stone {seed} ..."):
                    stone = FoundStone.of(client, Case.drawn(patient, seed), model)
                    shadow = StoneInXray.of(stone.case)
                    box, click = XrayMask.from_box(client, shadow), XrayMask.from_click(client, shadow)
                    if seed == seeds[0]:
                        rows.append(views(stone, box, stone.fused(client)))
                found.append(stone)
                in_xray["box"].append(box)
                in_xray["click"].append(click)
        real = [each for stone in _real_stones() for each in FoundRealStone.of(client, stone)]
    print_found(console, found)
    print_in_xray(console, found, in_xray)
    console.print(DEPTH_NOTE)
    write(folder / "stones.png", rows)
    console.print(f"Picture: {folder / 'stones.png'}")
    if real:
        print_real(console, real)
        write(folder / "real_stones.png", real_views(real))
        console.print(f"Picture: {folder / 'real_stones.png'}")
    return found


def _real_stones() -> Iterator[RealStone]:
    if KIDNEY_STONES.is_dir():
        yield from real_stones(KIDNEY_STONES)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many stones per volume")
    parser.add_argument("--first-seed", type=int, default=0, help="100 for those that settings were chosen on")
    parser.add_argument("--model", choices=["affine", "deformable"], default="affine")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    run(seeds, TransformModel[options.model.upper()], options.out, Console())


if __name__ == "__main__":
    main()
