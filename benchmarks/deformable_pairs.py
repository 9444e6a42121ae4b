"""Pairs of images whose deformation is known exactly, for developing and for reporting.

Kind (a): the projection of a CT and a simulated X-ray of the moved and bent body, from forward models that share
no code and no parameters. Kind (b): pseudo-modalities, a real slice seen through a fixed intensity map, uneven
illumination and noise, against the moved and bent slice as it was.

Development and report never share a warp (seeds), and share no patient except the demo's CT, whose figures are
printed apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.real_slices import PATIENTS, Purpose
from benchmarks.tilted_body import TiltedBody, drawn_turn
from examples.demo.breath import bent_paths, rigid_motion
from examples.demo.ct_volume import CtVolume, load_ct_volume
from examples.demo.known_warp import KnownWarp, Points, mapped, pixel_grid, sample
from examples.demo.simulated_xray import MaterialPaths, material_paths, simulate_xray
from examples.demo.truth import projected_body
from examples.demo.working_grid import WorkingGrid
from hilum.geometry import PatientFrame
from hilum.types import ProjectionAxis, ProjectionMethod
from services.fusion.projection import project_volume
from services.fusion.quality import body_mask
from services.fusion.registration import RegistrationImage

SIDE_PX = 256
Slice = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KnownPair:
    """Two images and the truth between them.

    Attributes:
        name: which patient, map and seed.
        fixed: the fixed image.
        moving: the moving image.
        body: bool (height, width) of the fixed image: where errors count.
        truth: float64 (height, width, 2): the moving pixel (x, y) of each fixed pixel.
    """

    name: str
    fixed: RegistrationImage
    moving: RegistrationImage
    body: NDArray[np.bool_]
    truth: Points


def _inverted(t: Slice) -> Slice:
    return 1 - t


def _tent(t: Slice) -> Slice:
    return 1 - np.abs(2 * t - 1)


def _zigzag(t: Slice) -> Slice:
    return np.asarray(np.interp(t, (0, 0.33, 0.67, 1), (0.05, 0.9, 0.2, 0.8)))


def _classes(t: Slice) -> Slice:
    return np.asarray(np.interp(t, (0, 0.15, 0.3, 0.5, 0.7, 1), (0.05, 0.9, 0.35, 0.7, 0.2, 0.6)))


def _turning(t: Slice) -> Slice:
    """One map on the left and another on the right: no one function of the intensity."""
    right = 1 / (1 + np.exp(-np.linspace(-20, 20, t.shape[1])))[None, :]
    return np.asarray((1 - right) * _tent(t) + right * _zigzag(t))


MAPS: dict[str, Callable[[Slice], Slice]] = {
    "inverted": _inverted,
    "tent": _tent,
    "zigzag": _zigzag,
    "classes": _classes,
    "turning": _turning,
}
"""What the second modality makes of intensities in [0, 1].

None is flat anywhere, or a tissue could lose all contrast, which no method could make up for."""

BIAS = 0.25
NOISE = 0.02
FIRST_SEED = {Purpose.DEVELOPMENT: 100, Purpose.REPORT: 1000}


def seen_through(picture: Slice, map_name: str, random: np.random.Generator) -> Slice:
    """A square slice with intensities in [0, 1] as a pseudo-modality shows it: mapped, unevenly lit, noisy."""
    side_px = picture.shape[0]
    y, x = np.mgrid[:side_px, :side_px] / side_px - 0.5
    a, b, c = random.uniform(-1, 1, 3)
    mapped = MAPS[map_name](picture) * np.exp(2 * BIAS * (a * x + b * y + 2 * c * x * y))
    return np.asarray(mapped + random.normal(0, NOISE, picture.shape), np.float64)


def pseudo_pair(name: str, picture: Slice, map_name: str, seed: int, *, side_px: int = SIDE_PX) -> KnownPair:
    """A pair of kind (b) of one slice with intensities in [0, 1], shape (side_px, side_px).

    The warp is drawn at 256 pixels and scaled to the side.
    """
    random = np.random.default_rng((seed, 1))
    warp = KnownWarp.from_seed(seed, (SIDE_PX, SIDE_PX))
    zoom = side_px / SIDE_PX
    fixed = seen_through(picture, map_name, random)
    grid = (pixel_grid(picture.shape) + 0.5) / zoom - 0.5
    moving = sample(picture, (warp.moving_to_fixed(grid) + 0.5) * zoom - 0.5) + random.normal(0, NOISE, picture.shape)
    return KnownPair(
        f"{name} {map_name} {seed}",
        RegistrationImage(fixed.astype(np.float32)),
        RegistrationImage(moving.astype(np.float32)),
        body_mask(picture, np.ones(picture.shape, np.bool_)),
        (warp.fixed_to_moving(grid) + 0.5) * zoom - 0.5,
    )


@dataclass(frozen=True, eq=False)
class RadiographedVolume:
    """A CT prepared for pairs of kind (a)."""

    name: str
    volume: CtVolume
    grid: WorkingGrid
    paths: MaterialPaths
    projection: RegistrationImage
    body: NDArray[np.bool_]

    @classmethod
    def of(cls, name: str, volume: CtVolume, width: int = SIDE_PX) -> RadiographedVolume:
        """Project a CT both ways."""
        depth_mm, row_mm, column_mm = volume.spacing_mm
        projected = project_volume(
            volume.hounsfield, (column_mm, row_mm, depth_mm), ProjectionAxis.DEPTH, ProjectionMethod.ATTENUATION
        )
        grid = WorkingGrid.over(volume, width)
        size = (grid.height, grid.width)
        on_grid = sample(projected.pixels.astype(np.float64), mapped(grid.native_from_grid, pixel_grid(size)), order=1)
        spacing = (grid.spacing_mm, grid.spacing_mm)
        fixed = RegistrationImage(on_grid.astype(np.float32), spacing)
        return cls(name, volume, grid, material_paths(volume), fixed, projected_body(volume, grid))

    def pair(self, seed: int, *, reach: float = 1.0, low_dose: bool = False, tilted: bool = False) -> KnownPair:
        """The projection and a simulated X-ray of the body after the warp of this seed; noise has the same seed.

        Args:
            seed: of the warp and of the detector's noise.
            reach: times the rotation and shift.
            low_dose: the beam is collimated to the middle, and a tenth of the signal is noise.
            tilted: the body is first turned out of the plane, by up to 3 degrees about x and about y.
        """
        size = (self.grid.height, self.grid.width)
        warp = KnownWarp.from_seed(seed, size, reach=reach)
        straight, places = self.paths, pixel_grid(size)
        if tilted:
            turn = drawn_turn(seed)
            straight, places = self._tilted_body.paths(turn), self._tilted_body.seen_at(turn, self.grid)
        paths, motion = bent_paths(straight, self.grid, warp), rigid_motion(self.grid, warp)
        xray = simulate_xray(self.volume, paths, self.grid, motion, seed)
        pixels, exposed = xray.pixels.astype(np.float32), xray.exposed
        if low_dose:
            pixels, exposed = _collimated_low_dose(pixels, exposed, seed)
        spacing = (self.grid.spacing_mm, self.grid.spacing_mm)
        moving = RegistrationImage(pixels, spacing, exposed)
        truth = warp.fixed_to_moving(places)
        return KnownPair(f"{self.name} X-ray {seed}", self.projection, moving, self.body, truth)

    def spread_px(self, seed: int) -> float:
        """What no planar map can undo of a tilted pair: the root mean square over the body."""
        spread = self._tilted_body.spread_px(drawn_turn(seed), self.grid)[self.body]
        return float(np.sqrt((spread**2).mean()))

    @cached_property
    def _tilted_body(self) -> TiltedBody:
        return TiltedBody.of(self.volume)


def _collimated_low_dose(
    pixels: NDArray[np.float32], exposed: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Three quarters of the width and of the height, in the middle, with noise of a tenth of the range."""
    random = np.random.default_rng((seed, 2))
    height, width = pixels.shape
    open_field = np.zeros(pixels.shape, np.bool_)
    open_field[height // 8 : -(height // 8), width // 8 : -(width // 8)] = True
    noisy = pixels + random.normal(0, 0.1 * float(np.ptp(pixels)), pixels.shape)
    exposed = exposed & open_field
    return np.where(exposed, noisy, 0).astype(np.float32), exposed


def radiographed_abdomen(data: Path) -> RadiographedVolume:
    """The abdomen of the sample data, a patient that no setting was chosen on, at 3 mm.

    Raises:
        FileNotFoundError: the sample data is not there.
    """
    folder = data / "ct_kidney_stones"
    hounsfield, spacing = _coronal(folder / "ct_full.nii.gz")
    labels, _ = _coronal(folder / "seg_full_fast_model.nii.gz")
    depth_mm, row_mm, column_mm = spacing
    frame = PatientFrame(
        (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)), (column_mm, row_mm, depth_mm)
    )
    volume = CtVolume(np.maximum(hounsfield, -1024).astype(np.int16), labels.astype(np.uint8), spacing, frame)
    return RadiographedVolume.of("abdomen", volume)


def _coronal(path: Path) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Voxels (depth, row, column) from front, head and right, and their size in mm in that order."""
    orientations: Any = nib.orientations
    image: Any = nib.load(path)
    turn = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(("P", "I", "L"))
    )
    turned = image.as_reoriented(turn)
    depth, row, column = (float(size) for size in turned.header.get_zooms())
    return np.asarray(turned.dataobj, np.float64), (depth, row, column)


def pseudo_pairs(purpose: Purpose, data: Path, *, side_px: int = SIDE_PX, every: int = 1) -> Iterator[KnownPair]:
    """Pairs of kind (b): every slice of the purpose's patients under every map, each with a warp of its own.

    Args:
        purpose: chooses seeds and patients.
        data: the sample data.
        side_px: of the pictures.
        every: 2 makes every second pair only, and so on.

    Raises:
        FileNotFoundError: the sample data is not there.
    """
    first = seed = FIRST_SEED[purpose]
    for patient in PATIENTS[purpose]:
        for name, picture in patient.pictures(data, side_px):
            for map_name in MAPS:
                if (seed - first) % every == 0:
                    yield pseudo_pair(name, picture, map_name, seed, side_px=side_px)
                seed += 1


def radiograph_pairs(purpose: Purpose, data: Path, count: int, *, tilted: bool = False) -> Iterator[KnownPair]:
    """Pairs of kind (a): the demo's chest, and for reports a patient that no setting was chosen on.

    Args:
        purpose: chooses seeds and patients.
        data: the sample data, for reports.
        count: pairs of each patient.
        tilted: bodies are turned out of the plane, too; prints what no planar map can undo of that.

    Raises:
        FileNotFoundError: the sample data is not there.
    """
    volumes = [RadiographedVolume.of("chest", load_ct_volume())]
    if purpose is Purpose.REPORT:
        volumes.append(radiographed_abdomen(data))
    for volume in volumes:
        for seed in range(FIRST_SEED[purpose], FIRST_SEED[purpose] + count):
            if tilted:
                print(f"{volume.name} {seed}: {volume.spread_px(seed):.2f} px along a ray, root mean square")
            yield volume.pair(seed, tilted=tilted)
