"""How well and how fast a CT's projection is registered to a simulated X-ray, over ten known motions.

    python -m benchmarks.registration [--pictures FOLDER]

The fixed image is the parallel projection of the demo's CT, in the volume's own anisotropic pixels; the moving one is
the demo's simulated X-ray, 256 pixels wide, after rotation of up to 10 degrees, scale of up to 10 % and shifts of up to
20 px. The two forward models share no code and no parameters. The truth is exact, and the error is the distance, in
pixels of the simulated X-ray, between where the registration and the truth put each pixel of the projected body.
Patients also breathe and bend: these figures say nothing about that. Beside it a 5 mm slab is registered to the same
pictures, as the service does it and by climbing mutual information.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.generated import outcome_of
from benchmarks.report import save, show
from examples.demo.ct_volume import CtVolume, Label, load_ct_volume
from examples.demo.known_motion import MOTION_SEEDS, KnownMotion
from examples.demo.simulated_xray import SimulatedXray, material_paths, simulate_xray
from examples.demo.truth import projected_body, slice_of_largest_area
from examples.demo.working_grid import WorkingGrid
from hilum.registration_options import RegistrationOptions, SimilarityMeasure
from hilum.types import ProjectionAxis, ProjectionMethod, ViewRelation
from hilum.warp import Warp
from services.fusion.projection import project_volume
from services.fusion.registration import (
    Registration,
    RegistrationImage,
    RegistrationOutcome,
)
from services.fusion.resampling import resample

SLAB_MM = 5.0
_PADDING_HU = -2048
_TILE_PX = 32


@dataclass(frozen=True, eq=False)
class Run:
    """One registration: its outcome, its errors in px of the simulated X-ray, its wall and CPU seconds."""

    outcome: RegistrationOutcome
    error_px: NDArray[np.float64]
    wall_s: float
    cpu_s: float


def projection_of(volume: CtVolume, method: ProjectionMethod, slab: tuple[int, int] | None = None) -> RegistrationImage:
    """The antero-posterior projection of the CT, or of a range of its coronal slices, in the volume's own pixels."""
    depth_mm, row_mm, column_mm = volume.spacing_mm
    projection = project_volume(
        volume.hounsfield,
        (column_mm, row_mm, depth_mm),
        ProjectionAxis.DEPTH,
        method,
        slab=slab,
        padding_value=_PADDING_HU,
    )
    return RegistrationImage(projection.pixels, projection.spacing_mm, projection.valid)


def register(
    fixed: RegistrationImage,
    xray: SimulatedXray,
    views: ViewRelation,
    body: NDArray[np.bool_],
    options: RegistrationOptions | None = None,
) -> Run:
    """Register one pair and measure it against the truth; `body` lies on the X-ray's grid, before the motion."""
    spacing = xray.grid.spacing_mm
    moving = RegistrationImage(xray.pixels, (spacing, spacing), xray.exposed)
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = outcome_of(Registration().run(fixed, moving, views, options))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows, columns = np.nonzero(body)
    points = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float64)
    found = outcome.fixed_to_moving @ xray.grid.native_from_grid @ points
    true = xray.motion.fixed_to_moving(xray.grid) @ points
    return Run(outcome, np.linalg.norm((found - true)[:2], axis=0), wall, cpu)


def measure(pictures: Path | None = None) -> dict[str, float]:
    """Register ten pairs and print a row for each; with `pictures`, write a checkerboard for each into that folder."""
    volume = load_ct_volume()
    grid, paths = WorkingGrid.over(volume), material_paths(volume)
    body = projected_body(volume, grid)
    projection = projection_of(volume, ProjectionMethod.ATTENUATION)
    middle, half = slice_of_largest_area(volume, (Label.LIVER,)), round(SLAB_MM / 2 / volume.spacing_mm[0])
    slab = projection_of(volume, ProjectionMethod.MEAN, (middle - half, middle + half + 1))
    xrays = [simulate_xray(volume, paths, grid, KnownMotion.from_seed(seed), seed) for seed in MOTION_SEEDS]
    # The first registration of a process also pays for torch's start.
    register(projection, xrays[0], ViewRelation.COMPARABLE, body)
    runs = [register(projection, xray, ViewRelation.COMPARABLE, body) for xray in xrays]
    differ = ViewRelation.SLAB_AND_PROJECTION
    slabs = [register(slab, xray, differ, body) for xray in xrays]
    by_information = RegistrationOptions(measure=SimilarityMeasure.MUTUAL_INFORMATION)
    informed = [register(slab, xray, differ, body, by_information) for xray in xrays]
    _show_runs("CT projection to simulated X-ray", runs, grid.spacing_mm)
    _show_runs("5 mm coronal slab of the CT to simulated X-ray", slabs, grid.spacing_mm)
    _show_runs("the same slab, by mutual information", informed, grid.spacing_mm)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for seed, xray, run in zip(MOTION_SEEDS, xrays, runs, strict=True):
            cv2.imwrite(str(pictures / f"registration-{seed}.png"), _checkerboards(projection, xray, run))
    means = [float(run.error_px.mean()) for run in runs]
    return {
        "registration_tre_mean_px": statistics.mean(means),
        "registration_tre_mean_mm": statistics.mean(means) * grid.spacing_mm,
        "registration_tre_max_px": max(float(run.error_px.max()) for run in runs),
        "registration_seconds": statistics.median(run.wall_s for run in runs),
        "registration_cpu_seconds": statistics.median(run.cpu_s for run in runs),
        "registration_match_loss_before": statistics.mean(run.outcome.before.match_loss for run in runs),
        "registration_match_loss_after": statistics.mean(run.outcome.after.match_loss for run in runs),
        "registration_slab_tre_mean_px": statistics.mean(float(run.error_px.mean()) for run in slabs),
        "registration_slab_information_tre_mean_px": statistics.mean(float(run.error_px.mean()) for run in informed),
    }


def _show_runs(title: str, runs: list[Run], spacing_mm: float) -> None:
    table = Table(title=f"{title}: target registration error")
    columns = ("motion", "mean px", "mean mm", "max px", "Match_Loss", "after", "distinct", "s", "CPU s", "flags")
    for column in columns:
        table.add_column(column, justify="right")
    for seed, run in zip(MOTION_SEEDS, runs, strict=True):
        mean, outcome = float(run.error_px.mean()), run.outcome
        figures = (mean, mean * spacing_mm, run.error_px.max())
        losses = (outcome.before.match_loss, outcome.after.match_loss, outcome.standing.distinctness)
        table.add_row(
            str(seed),
            *(f"{value:.2f}" for value in figures),
            *(f"{value:.3f}" for value in losses),
            *(f"{value:.2f}" for value in (run.wall_s, run.cpu_s)),
            ", ".join(outcome.flags),
        )
    # Wide enough for the flags, in a log too.
    Console(width=120).print(table)


def _checkerboards(fixed: RegistrationImage, xray: SimulatedXray, run: Run) -> NDArray[np.uint8]:
    """Tiles of the projection and the simulated X-ray in turn, before and after, on the X-ray's grid."""
    size = (xray.grid.height, xray.grid.width)
    grey_fixed = _grey(resample(fixed.pixels, Warp(xray.grid.native_from_grid), size).pixels)
    halves = []
    for name, matrix in (
        ("before", np.eye(3)),
        ("after", run.outcome.fixed_to_moving @ xray.grid.native_from_grid),
    ):
        grey_moving = _grey(resample(xray.pixels.astype(np.float32), Warp(matrix), size).pixels)
        rows, columns = np.indices(size) // _TILE_PX
        board = cv2.resize(np.where((rows + columns) % 2 > 0, grey_moving, grey_fixed), None, fx=2, fy=2)
        label = f"{name}: CT projection, simulated X-ray; not for diagnosis"
        cv2.putText(board, label, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 255, 1, cv2.LINE_AA)
        cv2.putText(board, "R", (6, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 1, cv2.LINE_AA)
        halves.append(board)
    return np.hstack(halves)


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(pixels, (1, 99.5))
    return np.asarray(np.clip((pixels - low) / (high - low) * 255, 0, 255), np.uint8)


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder for a checkerboard of each pair")
    figures = measure(parser.parse_args().pictures)
    show("registration", figures)
    save(figures)


if __name__ == "__main__":
    main()
