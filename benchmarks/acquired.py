"""Acquired pairs, whose truth nobody knows exactly: histology with landmarks, and a head with a given solution.

    python -m benchmarks.acquired [--pictures FOLDER] [--data FOLDER]

(d) Two tissues, each cut twice and stained differently (rat kidney, lesions; 69 to 78 landmarks that a person set),
registered both ways as grey images. The error is the distance between a landmark of the moving image and where the
registration puts its partner of the fixed one, in pixels and in percent of the moving image's diagonal, as the ANHIR
challenge counts it (Borovec et al., IEEE Trans. Med. Imaging 39 (2020) 3042). No setting was chosen on these pairs;
peers have the settings that were chosen on pseudo-modalities (`benchmarks.registration_peers`).

(e) elastix's example of a head. The moving image as its solution deforms it goes with it, not the transform: figures
say how far the image that a registration brings over is from that one, in percent of the solution's range of grey
levels over the body, and how it correlates with it. That is a distance to another program's answer, not accuracy.

None of it makes a pair of modalities a verified one.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import SimpleITK as itk  # noqa: N813 -- its module's name says nothing
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.case_picture import case_picture, save_picture
from benchmarks.deformable import METHODS, SAMPLE_DATA
from benchmarks.generated import outcome_of
from benchmarks.one_thread import one_thread
from benchmarks.registrars.hilum import places_of
from benchmarks.registrars.process import NotInstalled, RegistrarProcess
from benchmarks.registrars.registrar import Load, Places, pixel_places
from benchmarks.registration_peers import TUNED
from benchmarks.report import save, show
from hilum.types import ViewRelation
from services.fusion.quality import body_mask
from services.fusion.registration import Registration, RegistrationImage, RegistrationOutcome

OURS = ("affine", "deformable", "deformable, mutual information")
PEERS = ("OpenCV ECC",)
STAINS = {
    "kidney": ("rat-kidney/Rat-Kidney_HE", "rat-kidney/Rat-Kidney_PanCytokeratin"),
    "lesions": ("lesions/Izd2-29-041-w35_HE", "lesions/Izd2-29-041-w35_proSPC"),
}
Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LandmarkPair:
    """Two images and the points that a person found in both.

    Attributes:
        name: tissue and fixed stain.
        fixed: the fixed image.
        moving: the moving image.
        fixed_px: (n, 2), landmarks (x, y) of the fixed image.
        moving_px: (n, 2), the same of the moving image.
    """

    name: str
    fixed: RegistrationImage
    moving: RegistrationImage
    fixed_px: Float
    moving_px: Float

    def errors_px(self, places: Places | None) -> Float:
        """(n,): of each landmark; without an answer, of one image laid on the other, corner on corner."""
        at = pixel_places(self.fixed.size) if places is None else places
        x, y = self.fixed_px.T
        found = [ndimage.map_coordinates(at[..., axis], (y, x), order=1, mode="nearest") for axis in range(2)]
        return np.asarray(np.linalg.norm(np.stack(found, axis=1) - self.moving_px, axis=1), np.float64)

    @property
    def diagonal_px(self) -> float:
        """Of the moving image."""
        return float(np.hypot(*self.moving.size))


def histology_pairs(data: Path) -> Iterator[LandmarkPair]:
    """Yields both tissues, each stain fixed once.

    Raises:
        FileNotFoundError: the sample data is not there.
    """
    folder = data / "registration_histology_landmarks"
    for tissue, stems in STAINS.items():
        for fixed, moving in (stems, stems[::-1]):
            points = [_landmarks(folder / f"{stem}.csv") for stem in (fixed, moving)]
            shared = sorted(points[0].keys() & points[1].keys())
            fixed_px, moving_px = (np.array([found[number] for number in shared]) for found in points)
            first, second = (_grey(folder / f"{stem}.jpg") for stem in (fixed, moving))
            yield LandmarkPair(f"{tissue}, {fixed.split('_')[-1]} fixed", first, second, fixed_px, moving_px)


def _landmarks(path: Path) -> dict[int, tuple[float, float]]:
    with path.open() as lines:
        return {int(row[""]): (float(row["X"]), float(row["Y"])) for row in csv.DictReader(lines)}


def _grey(path: Path) -> RegistrationImage:
    """Tissue is bright: slides are lit from behind."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise FileNotFoundError(path)
    return RegistrationImage(255 - np.asarray(pixels, np.float32))


def registered(fixed: RegistrationImage, moving: RegistrationImage, method: str) -> RegistrationOutcome:
    """What Hilum finds."""
    return outcome_of(Registration().run(fixed, moving, ViewRelation.COMPARABLE, METHODS[method]))


def peer_places(fixed: RegistrationImage, moving: RegistrationImage) -> dict[str, Places | None]:
    """What each installed peer finds, each in a process of its own; None where it gave up."""
    found: dict[str, Places | None] = {}
    with ExitStack() as stack:
        for name in PEERS:
            load: Load = TUNED["b"][name]
            try:
                answer = stack.enter_context(RegistrarProcess(load)).register(load, fixed, moving)
            except NotInstalled as missing:
                print(f"{name} is left out: {missing}; pip install -c constraints.txt -e '.[bench]'")
                continue
            found[name] = None if answer is None else answer.places
    return found


def measure_histology(data: Path, pictures: Path | None) -> dict[str, float]:
    """Register all pairs of (d) by all methods, print, and return the default's figures."""
    table = Table("pair", "method", title="(d) histology, landmarks")
    for column in ("landmarks", "mean px", "median", "p95", "mean % of diagonal", "median %"):
        table.add_column(column, justify="right")
    table.add_column("flags")
    figures: dict[str, float] = {}
    for pair in histology_pairs(data):
        outcomes = {method: registered(pair.fixed, pair.moving, method) for method in OURS}
        if pictures is not None:
            places = places_of(outcomes["deformable"], pair.fixed.size)
            mean = f"landmarks: mean {pair.errors_px(places).mean():.1f} px"
            save_picture(pictures, f"d-{pair.name}", case_picture(pair.fixed, pair.moving, places, mean))
        answers: dict[str, Places | None] = {"before": None}
        answers |= {f"hilum, {name}": places_of(outcome, pair.fixed.size) for name, outcome in outcomes.items()}
        answers |= peer_places(pair.fixed, pair.moving)
        flags = {f"hilum, {name}": ", ".join(outcome.flags) for name, outcome in outcomes.items()}
        for method, found in answers.items():
            errors = pair.errors_px(found)
            values = errors.mean(), np.median(errors), np.percentile(errors, 95)
            shares = (100 * value / pair.diagonal_px for value in values[:2])
            cells = [f"{value:.1f}" for value in values] + [f"{share:.2f}" for share in shares]
            table.add_row(pair.name, method, str(len(errors)), *cells, flags.get(method, ""))
            if method in ("before", "hilum, deformable"):
                name = f"{pair.name} {method}".replace(", ", "_").replace(" ", "_").lower()
                figures[f"histology_{name}_mean_px"] = float(values[0])
    Console(width=170).print(table)
    return figures


def measure_head(data: Path, pictures: Path | None) -> dict[str, float]:
    """How far what Hilum brings over is from elastix's solution; prints a row a method."""
    folder = data / "registration_head_2d"
    read: Any = itk.ReadImage
    fixed, moving, solution = (
        np.asarray(itk.GetArrayFromImage(read(str(folder / f"{name}.mhd"))), np.float32)
        for name in ("fixed", "moving", "solution_deformedmovingimage")
    )
    images = RegistrationImage(fixed), RegistrationImage(moving)
    outcomes = {method: registered(*images, method) for method in OURS}
    if pictures is not None:
        save_picture(pictures, "e-head", case_picture(*images, places_of(outcomes["deformable"], fixed.shape)))
    everything: Mapping[str, Places | None] = {
        "before": pixel_places(fixed.shape),
        **{f"hilum, {name}": places_of(outcome, fixed.shape) for name, outcome in outcomes.items()},
        **peer_places(*images),
    }
    table = Table("method", title="(e) head: distance to elastix's solution, not accuracy")
    for column in ("difference, % of range", "correlation"):
        table.add_column(column, justify="right")
    table.add_column("flags")
    body = body_mask(fixed, np.ones(fixed.shape, np.bool_))
    figures: dict[str, float] = {}
    for method, places in everything.items():
        at = pixel_places(fixed.shape) if places is None else places
        brought = ndimage.map_coordinates(moving, (at[..., 1], at[..., 0]), order=1)
        difference = 100 * np.abs(brought - solution)[body].mean() / np.ptp(solution[body])
        correlation = np.corrcoef(brought[body], solution[body])[0, 1]
        flags = next((outcome.flags for name, outcome in outcomes.items() if method == f"hilum, {name}"), ())
        table.add_row(method, f"{difference:.2f}", f"{correlation:.3f}", ", ".join(flags))
        if method in ("before", "hilum, deformable"):
            figures[f"head_{method.replace('hilum, ', '')}_difference_percent"] = float(difference)
    Console(width=120).print(table)
    return figures


@one_thread()
def measure(data: Path = SAMPLE_DATA, pictures: Path | None = None) -> dict[str, float]:
    """Measure both kinds; without the sample data, say so and measure nothing."""
    if not data.is_dir():
        print(f"skipped: there is no sample data in {data}; name its folder with --data")
        return {}
    return measure_histology(data, pictures) | measure_head(data, pictures)


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SAMPLE_DATA, help="the sample data")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each case")
    options = parser.parse_args()
    figures = measure(options.data, options.pictures)
    if figures:
        show("acquired", figures)
        save(figures)


if __name__ == "__main__":
    main()
