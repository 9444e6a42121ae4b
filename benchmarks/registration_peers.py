"""Hilum's registration beside its peers: the same pairs, the same run, one thread each, in turn.

    python -m benchmarks.registration_peers [--pairs N] [--kinds a b] [--purpose report|tune] [--peers elastix]
        [--pictures FOLDER] [--data FOLDER]

Pairs of kinds (a) and (b) of `benchmarks/deformable_pairs.py`, no masks. Every method gets the whole images (peers:
scaled by percentiles, with the mask of what is exposed) and begins with the images' centres on each other. Each library
has a process of its own, and all methods take their turn on every pair, after one pair to warm up. A pair on which a
method crashes or gives up counts as unmoved.

`--purpose tune` runs the settings in `GRID`, six for each peer, on development pairs, which share no warp and, but
for the demo's chest, no patient with those that are reported; the setting with the least mean error belongs into
`TUNED`. Those that stand there come from `--purpose tune --pairs 4`, four pairs of each kind, (b) under four maps;
only elastix was tuned on kind (a), too, for which the others have what was best on (b). Its bending energies of 100 and
1000 were tried on (a) alone. Hilum's settings were chosen on development pairs and are the same for both kinds.

Errors are in pixels of 256 over the fixed image's body. `worse by` is the mean difference of the cases' means to
Hilum's, with a bootstrap interval of 95 %, and `p` that of Wilcoxon's signed-rank test of these differences,
two-sided. `times ours` is the median of the cases' ratios of processor seconds. `--pairs` is per kind, spread over
all that `benchmarks.deformable` reports: 40 and 60.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import wilcoxon

from benchmarks.case_picture import compared_picture, said, save_picture
from benchmarks.deformable import RADIOGRAPHS, SAMPLE_DATA, SUCCESS_PX
from benchmarks.deformable_pairs import MAPS, KnownPair, pseudo_pairs, radiograph_pairs
from benchmarks.real_slices import Purpose
from benchmarks.registrars.ants import Ants
from benchmarks.registrars.ecc import Ecc
from benchmarks.registrars.elastix import Elastix
from benchmarks.registrars.hilum import Hilum
from benchmarks.registrars.process import Answer, NotInstalled, RegistrarProcess
from benchmarks.registrars.registrar import Load, Places, pixel_places
from benchmarks.registrars.simpleitk import SimpleItk
from benchmarks.report import machine, save, show
from hilum.registration_options import TransformModel

OURS = "hilum, deformable"
PAIRS = 6
_RESAMPLES, _BOOTSTRAP_SEED = 10_000, 1
PSEUDO_PAIRS = {Purpose.DEVELOPMENT: 40, Purpose.REPORT: 60}
OWN: dict[str, Load] = {OURS: Hilum(), "hilum, affine": Hilum(TransformModel.AFFINE)}
GRID: dict[str, tuple[Load, ...]] = {
    "SimpleITK": tuple(
        SimpleItk(mesh, iterations, share)
        for mesh in (8, 12)
        for iterations, share in ((50, 0.25), (50, 1.0), (100, 0.25))
    ),
    "elastix": tuple(
        Elastix(spacing_px, bending, iterations)
        for spacing_px, bending, iterations in (
            (16.0, 1.0, 250),
            (16.0, 10.0, 250),
            (32.0, 10.0, 250),
            (32.0, 10.0, 500),
            (32.0, 100.0, 500),
            (32.0, 1000.0, 500),
        )
    ),
    "ANTs": (
        Ants("SyN", "mattes", (40, 20, 0)),
        Ants("SyN", "mattes", (100, 70, 50)),
        Ants("SyN", "CC", (40, 20, 5)),
        Ants("SyNRA", "mattes", (40, 20, 0)),
        Ants("antsRegistrationSyNQuick[s]"),
        Ants("antsRegistrationSyN[s]"),
    ),
    "OpenCV ECC": tuple(Ecc(edges, blur_px) for edges in (True, False) for blur_px in (5, 11, 21)),
}
TUNED: dict[str, dict[str, Load]] = {
    "a": {
        # Of these three not tuned on kind (a) yet: what was best on (b).
        "SimpleITK": SimpleItk(mesh=8, iterations=50, share=1.0),
        "elastix": Elastix(spacing_px=32.0, bending=1000.0, iterations=500),
        "ANTs": Ants("antsRegistrationSyN[s]"),
        "OpenCV ECC": Ecc(edges=True, blur_px=11),
    },
    "b": {
        "SimpleITK": SimpleItk(mesh=8, iterations=50, share=1.0),
        "elastix": Elastix(spacing_px=32.0, bending=10.0, iterations=500),
        "ANTs": Ants("antsRegistrationSyN[s]"),
        "OpenCV ECC": Ecc(edges=True, blur_px=11),
    },
}


@dataclass(frozen=True, eq=False)
class Case:
    """What a method made of a pair.

    Attributes:
        errors_px: over the body, (n,).
        folding: share of the body's pixels where the map folds.
        wall_s: wall seconds, None where there was no answer.
        cpu_s: processor seconds, likewise.
    """

    errors_px: NDArray[np.float64]
    folding: float
    wall_s: float | None
    cpu_s: float | None

    @classmethod
    def of(cls, pair: KnownPair, answer: Answer | None) -> Case:
        """Measure an answer against the truth."""
        places = pixel_places(pair.fixed.size) if answer is None else answer.places
        errors = np.linalg.norm(places - pair.truth, axis=-1)[pair.body]
        times = (None, None) if answer is None else (answer.wall_s, answer.cpu_s)
        return cls(errors, folding_share(places, pair.body), *times)

    @property
    def mean_px(self) -> float:
        """Mean error over the body."""
        return float(self.errors_px.mean())


def folding_share(places: Places, body: NDArray[np.bool_]) -> float:
    """Share of the body's pixels at which the Jacobian determinant of a map, by central differences, is negative."""
    along_y, along_x = (np.asarray(np.gradient(places, axis=axis), np.float64) for axis in (0, 1))
    determinant = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
    return float((determinant[body] <= 0).mean())


def run(
    pairs: Sequence[KnownPair], methods: Mapping[str, Load], pictures: Path | None = None
) -> tuple[dict[str, list[Case]], dict[str, int]]:
    """All methods on all pairs, in turn; and how often each crashed. A method that is not installed is left out."""
    cases: dict[str, list[Case]] = {}
    with ExitStack() as stack:
        processes: dict[type[Load], RegistrarProcess] = {}
        for name, load in methods.items():
            if type(load) not in processes:
                try:
                    processes[type(load)] = stack.enter_context(RegistrarProcess(load))
                except NotInstalled as missing:
                    print(f"{name} is left out: {missing}; pip install -c constraints.txt -e '.[bench]'")
                    continue
                processes[type(load)].register(load, pairs[0].fixed, pairs[0].moving)
            cases[name] = []
        for pair in pairs:
            ways: dict[str, Places] = {}
            for name, of_method in cases.items():
                answer = processes[type(methods[name])].register(methods[name], pair.fixed, pair.moving)
                of_method.append(Case.of(pair, answer))
                places = pixel_places(pair.fixed.size) if answer is None else answer.places
                ways[f"{name}: {said(of_method[-1].errors_px)}"] = places
            if pictures is not None:
                save_picture(pictures, pair.name, compared_picture(pair.fixed, pair.moving, ways, pair.name))
        crashes = {name: processes[type(methods[name])].crashes for name in cases}
        return cases, crashes


def interval_of_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """A 95 % interval of the mean by the percentiles of resampled means (Efron 1979)."""
    random = np.random.default_rng(_BOOTSTRAP_SEED)
    drawn = values[random.integers(0, len(values), (_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def summary(cases: Sequence[Case], ours: Sequence[Case] | None) -> dict[str, float]:
    """Figures of a method; the mean and p95 are means over cases. `p` and `times` compare with ours."""
    means = [case.mean_px for case in cases]
    figures = {
        "mean_px": statistics.mean(means),
        "p95_px": statistics.mean(float(np.percentile(case.errors_px, 95)) for case in cases),
        "max_px": max(float(case.errors_px.max()) for case in cases),
        "success": statistics.mean(mean < SUCCESS_PX for mean in means),
        "folding": max(case.folding for case in cases),
        "seconds": statistics.median(case.wall_s for case in cases if case.wall_s is not None),
        "cpu_seconds": statistics.median(case.cpu_s for case in cases if case.cpu_s is not None),
    }
    if ours is not None:
        difference = np.array(means) - [case.mean_px for case in ours]
        figures["worse_px"] = float(difference.mean())
        figures["worse_low_px"], figures["worse_high_px"] = interval_of_mean(difference)
        figures["p"] = float(wilcoxon(difference).pvalue)
        figures["times"] = statistics.median(
            case.cpu_s / own.cpu_s for case, own in zip(cases, ours, strict=True) if case.cpu_s and own.cpu_s
        )
    return figures


_COLUMNS = {
    "mean_px": "mean",
    "p95_px": "p95",
    "max_px": "max",
    "success": f"< {SUCCESS_PX:g} px",
    "folding": "folds",
    "seconds": "s",
    "cpu_seconds": "CPU s",
    "times": "times ours",
    "worse_px": "worse by",
    "worse_low_px": "from",
    "worse_high_px": "to",
    "p": "p",
}


def measure_kind(
    kind: str, pairs: Sequence[KnownPair], methods: Mapping[str, Load], pictures: Path | None = None
) -> dict[str, float]:
    """Run and print one kind; figures by method."""
    cases, crashes = run(pairs, methods, pictures)
    title = f"Kind ({kind}): {len(pairs)} pairs, one thread each; {machine()}, load {os.getloadavg()[0]:.1f}"
    table = Table("method", title=title)
    for column in (*_COLUMNS.values(), "crashes"):
        table.add_column(column, justify="right")
    saved: dict[str, float] = {"pairs": float(len(pairs))}
    for name, found in cases.items():
        figures = summary(found, None if name == OURS else cases.get(OURS))
        cells = (f"{figures[key]:.3g}" if key in figures else "" for key in _COLUMNS)
        table.add_row(name, *cells, str(crashes[name]))
        saved |= {f"{name.replace(', ', '_').replace(' ', '_').lower()}_{key}": figures[key] for key in figures}
    Console(width=170).print(table)
    return {f"peers_{kind}_{name}": value for name, value in saved.items()}


def stride(available: int, count: int) -> int:
    """Every how many pairs are taken so that `count` spread over all, and over all intensity maps."""
    step = max(1, available // count)
    # Maps take turns: a multiple of their number would always meet the same one.
    return step - 1 if step > 1 and step % len(MAPS) == 0 else step


def measure(
    count: int = PAIRS,
    kinds: Sequence[str] = ("a", "b"),
    peers: Sequence[str] = tuple(GRID),
    data: Path = SAMPLE_DATA,
    pictures: Path | None = None,
    *,
    tune: bool = False,
) -> dict[str, float]:
    """Measure both kinds; without the sample data, say so and measure nothing."""
    if not data.is_dir():
        print(f"skipped: there is no sample data in {data}; name its folder with --data")
        return {}
    purpose = Purpose.DEVELOPMENT if tune else Purpose.REPORT
    volumes = 1 if tune else 2
    figures: dict[str, float] = {}
    for kind in kinds:
        pairs = list(
            radiograph_pairs(purpose, data, min(RADIOGRAPHS, -(-count // volumes)))
            if kind == "a"
            else islice(pseudo_pairs(purpose, data, every=stride(PSEUDO_PAIRS[purpose], count)), count)
        )
        tried = {f"{peer}: {setting}": setting for peer in peers for setting in GRID[peer]}
        tuned = OWN | {peer: TUNED[kind][peer] for peer in peers}
        figures |= measure_kind(kind, pairs, tried if tune else tuned, pictures and pictures / kind)
    return figures


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=["a", "b"], default=["a", "b"])
    parser.add_argument("--purpose", choices=["report", "tune"], default="report")
    parser.add_argument("--peers", nargs="+", choices=list(GRID), default=list(GRID), help="beside Hilum")
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each pair, a folder for each kind")
    options = parser.parse_args()
    tune = options.purpose == "tune"
    figures = measure(options.pairs, options.kinds, options.peers, options.data, options.pictures, tune=tune)
    if options.purpose == "report" and figures:
        show("registration_peers", figures)
        save(figures)


if __name__ == "__main__":
    main()
