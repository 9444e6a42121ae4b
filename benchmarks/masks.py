"""Whether the decoder's masks of organs cost a registration anything, and what they bring where the images alone fail.

    python -m benchmarks.masks [--pairs N] [--sets plain moved far hard] [--purpose development|report]
        [--pictures FOLDER] [--data FOLDER]

Kind (a) of `benchmarks/deformable_pairs.py`, four sets:

    plain   rotations up to 10 degrees and shifts up to 20 px of 256, as everywhere else
    moved   twice that motion, the beam collimated to three quarters, a tenth of the range in noise
    far     the same with four times the motion: beyond what a search without masks tries
    hard    the same with five times the motion: on development seeds the images alone find about half of the pairs

Targets are what the default model's decoder outlines in either image, asked by boxes each edge of which misses by up to
5 px (`benchmarks/decoder_outlines.py`): lungs in the demo's chest, bladder and hips in the abdomen. A pair whose X-ray
shows none of them is left out. The sets and the rule that keeps or drops what masks lead to were chosen on development
seeds of the chest; figures are of other seeds, and of the abdomen.

Errors are means over the body as far as the X-ray shows it, in px of 256; beside them over the whole body, most of
whose rest lies where the collimated beam shows nothing. A case costs where its error with masks is more than 1.05 times
that without. Success: an error below 3 px. The gain is the share of pairs that masks save less that of those that they
spoil, with an interval by drawing the pairs again. "Boxes" is what the boxes say without any image. Pictures show the
masks.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.case_picture import compared_picture, said, save_picture
from benchmarks.decoder_outlines import landed, lungs, outlined, pelvis
from benchmarks.deformable import DEFAULT, SAMPLE_DATA, SUCCESS_PX, register
from benchmarks.deformable import Case as Registered
from benchmarks.deformable_pairs import FIRST_SEED, KnownPair, RadiographedVolume, radiographed_abdomen
from benchmarks.one_thread import one_thread
from benchmarks.real_slices import Purpose
from benchmarks.registrars.hilum import places_of
from benchmarks.registrars.registrar import Places
from benchmarks.registration_peers import interval_of_mean
from benchmarks.report import machine, save, show
from examples.demo.ct_volume import load_ct_volume
from hilum.serving.bundle import Bundle, bundles_folder
from hilum.types import BoolMask
from modeling.evaluation.in_process import open_bundles
from modeling.evaluation.predictor import Predictor
from modeling.evaluation.statistics import clopper_pearson

PAIRS = 10
COST = 1.05
MODEL = "lite-medsam-click"
SETS: dict[str, Callable[[RadiographedVolume, int], KnownPair]] = {
    "plain": lambda volume, seed: volume.pair(seed),
    "moved": lambda volume, seed: volume.pair(seed, reach=2.0, low_dose=True),
    "far": lambda volume, seed: volume.pair(seed, reach=4.0, low_dose=True),
    "hard": lambda volume, seed: volume.pair(seed, reach=5.0, low_dose=True),
}


@dataclass(frozen=True, eq=False)
class Patient:
    """A volume and its organs, by name, on the grid of its pairs."""

    volume: RadiographedVolume
    organs: Mapping[str, BoolMask]


@dataclass(frozen=True)
class Errors:
    """Mean errors in px, over the body as far as the X-ray shows it, and over all of it."""

    seen: float
    whole: float

    @classmethod
    def of(cls, error_px: NDArray[np.float64], pair: KnownPair, seen: BoolMask) -> Errors:
        """From the errors of every fixed pixel."""
        return cls(float(error_px[seen].mean()), float(error_px[pair.body].mean()))


@dataclass(frozen=True)
class Case:
    """One pair: its errors without and with masks and by boxes alone, the masks' Dice with the truth, what was said.

    Distinctness is that of the result without masks.
    """

    name: str
    without: Errors
    masked: Errors
    boxes: Errors
    dice: float
    distinctness: float
    flags: tuple[str, ...]

    @property
    def costs(self) -> bool:
        """Whether masks made it worse."""
        return self.masked.seen > COST * self.without.seen


def compare(
    pair: KnownPair, patient: Patient, decoder: Predictor, seed: int, pictures: Path | None = None
) -> Case | None:
    """Register a pair without and with masks, and draw it where asked; None where the X-ray shows no organ."""
    asked = outlined(pair, patient.organs, decoder, seed)
    if asked is None:
        return None
    seen = shown(pair)
    without, masked = register(pair, DEFAULT), register(asked.pair, DEFAULT)
    by_boxes = np.linalg.norm(asked.moved - pair.truth, axis=-1)
    if pictures is not None:
        found = {"without masks": without, "with masks": masked}
        ways = {f"{way}: {said(case.error_px[seen])}": _places(case) for way, case in found.items()}
        caption = ", ".join([pair.name, *masked.outcome.flags])
        save_picture(pictures, pair.name, compared_picture(asked.pair.fixed, asked.pair.moving, ways, caption))
    return Case(
        pair.name,
        Errors.of(without.error_px, pair, seen),
        Errors.of(masked.error_px, pair, seen),
        Errors.of(by_boxes, pair, seen),
        _dice(asked.pair, patient),
        without.outcome.standing.distinctness,
        masked.outcome.flags,
    )


def _places(case: Registered) -> Places:
    return places_of(case.outcome, case.pair.fixed.size)


def shown(pair: KnownPair) -> BoolMask:
    """The fixed image's body, as far as the moving image shows it."""
    columns, rows = np.moveaxis(np.rint(pair.truth).astype(np.intp), -1, 0)
    height, width = pair.moving.size
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    exposed = pair.moving.usable[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return np.asarray(pair.body & inside & exposed, np.bool_)


def _dice(asked: KnownPair, patient: Patient) -> float:
    """Mean over the moving image's masks of their Dice with the organ that they overlap most."""
    truths = [landed(organ, asked) for organ in patient.organs.values()]
    return statistics.mean(
        max(float(2 * (mask & truth).sum() / max(1, mask.sum() + truth.sum())) for truth in truths)
        for mask in asked.moving.targets
    )


def show_set(title: str, cases: Sequence[Case]) -> dict[str, float]:
    """Print a row a case; figures."""
    columns = ("pair", "without px", "with px", "boxes px", "whole body", "with", "Dice of masks", "distinct", "")
    table = Table(*columns, title=f"{title} ({machine()})")
    for case in cases:
        px = (case.without.seen, case.masked.seen, case.boxes.seen, case.without.whole, case.masked.whole)
        remarks = ", ".join([*(["costs"] if case.costs else []), *case.flags])
        table.add_row(
            case.name, *(f"{value:.3f}" for value in px), f"{case.dice:.2f}", f"{case.distinctness:.3f}", remarks
        )
    Console(width=150).print(table)
    figures = {"cases": float(len(cases)), "mask_dice": statistics.mean(case.dice for case in cases)}
    ways: dict[str, Callable[[Case], Errors]] = {
        "without": lambda case: case.without,
        "with": lambda case: case.masked,
        "boxes": lambda case: case.boxes,
    }
    for name, of in ways.items():
        figures |= {
            f"{name}_px": statistics.mean(of(case).seen for case in cases),
            f"{name}_success": statistics.mean(of(case).seen < SUCCESS_PX for case in cases),
            f"{name}_whole_body_success": statistics.mean(of(case).whole < SUCCESS_PX for case in cases),
        }
        print(f"{title}, {name}: < {SUCCESS_PX:g} px {_share([of(case).seen < SUCCESS_PX for case in cases])}")
    figures |= gain(cases)
    print(f"{title}, gain: {figures['gain']:+.0%} ({figures['gain_low']:+.0%} to {figures['gain_high']:+.0%})")
    figures["costs"] = float(sum(case.costs for case in cases))
    figures["largest_ratio"] = max(case.masked.seen / case.without.seen for case in cases)
    figures["rejected"] = float(sum("MASKS_REJECTED" in case.flags for case in cases))
    return figures


def _share(successes: Sequence[bool]) -> str:
    found = clopper_pearson(sum(successes), len(successes))
    return f"{sum(successes)} of {len(successes)} ({found.low:.0%} to {found.high:.0%})"


def gain(cases: Sequence[Case]) -> dict[str, float]:
    """By how much masks raise the share of successes, paired, with a 95 % interval."""
    gains = [float(case.masked.seen < SUCCESS_PX) - float(case.without.seen < SUCCESS_PX) for case in cases]
    low, high = interval_of_mean(np.array(gains))
    return {"gain": statistics.mean(gains), "gain_low": low, "gain_high": high}


@one_thread()
def measure(
    count: int = PAIRS,
    purpose: Purpose = Purpose.REPORT,
    data: Path = SAMPLE_DATA,
    pictures: Path | None = None,
    sets: Sequence[str] = tuple(SETS),
) -> dict[str, float]:
    """Compare the sets, so many pairs of each patient; without the sample data, of the demo's chest alone."""
    (decoder,) = open_bundles([Bundle.load(bundles_folder() / MODEL)])
    chest = RadiographedVolume.of("chest", load_ct_volume())
    patients = [Patient(chest, lungs(chest))]
    if purpose is Purpose.REPORT and data.is_dir():
        abdomen = radiographed_abdomen(data)
        patients.append(Patient(abdomen, pelvis(abdomen)))
    elif purpose is Purpose.REPORT:
        print(f"the chest only: there is no sample data in {data}; name its folder with --data")
    first = FIRST_SEED[purpose]
    figures: dict[str, float] = {}
    for name in sets:
        found = [
            compare(SETS[name](patient.volume, seed), patient, decoder, seed, pictures and pictures / name)
            for patient in patients
            for seed in range(first, first + count)
        ]
        of_set = show_set(f"Kind (a), {name}", [case for case in found if case is not None])
        figures |= {f"masks_{name}_{key}": value for key, value in of_set.items()}
    return figures


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each patient and set")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--purpose", choices=[purpose.value for purpose in Purpose], default=Purpose.REPORT.value)
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each case, a folder for each set")
    options = parser.parse_args()
    figures = measure(options.pairs, Purpose(options.purpose), options.data, options.pictures, options.sets)
    show("masks", figures)
    if options.purpose == Purpose.REPORT.value:
        save(figures)


if __name__ == "__main__":
    main()
