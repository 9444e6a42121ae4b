"""How long a registration and a fusion take, by size.

    python -m benchmarks.registration_speed [--rounds N] [--data FOLDER]

Deformable registrations of pairs of kind (b) at 256, 512 and 1024 pixels, in turn, each of a pair of its own, and the
fusion of 1024 x 1024 (`benchmarks/fusion_speed.py`). One thread, BLAS's included. Medians of wall and of processor
seconds: where other programs keep the machine busy, only the latter say what an idle machine would take. Then one
deformable registration of a volume, 64 and 128 voxels across. The longest step is the longest that a caller who
cancels may keep a thread busy.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import islice
from pathlib import Path

from benchmarks import volume_pairs, volumes
from benchmarks.deformable import DEFAULT, SAMPLE_DATA, register
from benchmarks.deformable_pairs import pseudo_pairs
from benchmarks.fusion import WITH_GRADIENTS
from benchmarks.fusion_speed import speed
from benchmarks.one_thread import one_thread
from benchmarks.real_slices import Purpose
from benchmarks.report import save, show

SIDES_PX = (256, 512, 1024)
VOLUME_SIDES = (64, 128)
ROUNDS = 5


@one_thread()
def measure(rounds: int = ROUNDS, data: Path = SAMPLE_DATA) -> dict[str, float]:
    """Time both; without the sample data, the fusion only."""
    figures = speed(WITH_GRADIENTS)
    if not data.is_dir():
        print(f"fusion only: there is no sample data in {data}; name its folder with --data")
        return figures
    pairs = {side: list(islice(pseudo_pairs(Purpose.REPORT, data, side_px=side), rounds)) for side in SIDES_PX}
    # The first registration of a process also pays for torch's start.
    register(pairs[SIDES_PX[0]][0], DEFAULT)
    cases = {side: [register(pair, DEFAULT) for pair in pairs[side]] for side in SIDES_PX}
    for side, of_side in cases.items():
        figures[f"registration_{side}_s"] = statistics.median(case.wall_s for case in of_side)
        figures[f"registration_{side}_cpu_s"] = statistics.median(case.cpu_s for case in of_side)
        figures[f"registration_{side}_tre_px"] = statistics.mean(float(case.body_px.mean()) for case in of_side)
        figures[f"registration_{side}_longest_step_s"] = max(case.longest_step_s for case in of_side)
        figures[f"registration_{side}_longest_step_cpu_s"] = max(case.longest_step_cpu_s for case in of_side)
    return figures | volumes_speed(data)


def volumes_speed(data: Path = SAMPLE_DATA) -> dict[str, float]:
    """Time deformable registrations of a volume of 64 and of 128 voxels across, and their longest steps."""
    figures = {}
    subject = volume_pairs.subjects(Purpose.REPORT, data)[0]
    for side in VOLUME_SIDES:
        thinned = subject.thinned(128 // side)
        case = volumes.register(volume_pairs.known_pair(thinned, thinned, "pseudo", 0))
        figures[f"volume_{side}_s"] = case.wall_s
        figures[f"volume_{side}_cpu_s"] = case.cpu_s
        figures[f"volume_{side}_longest_step_s"] = case.longest_step_s
        figures[f"volume_{side}_longest_step_cpu_s"] = case.longest_step_cpu_s
    return figures


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="pairs of each size")
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    options = parser.parse_args()
    figures = measure(options.rounds, options.data)
    show("registration_speed", figures)
    save(figures)


if __name__ == "__main__":
    main()
