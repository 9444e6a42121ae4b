"""Pairs of images to fuse: aligned by what is known, and as the registration aligns them.

(a) The projection of the demo's CT and a simulated X-ray, ten motions. Both forward models are apart, so the alignment
is exact and the physics are not shared. One stone of 12 mm and 1000 HU lies in each kidney: it is the only synthetic
thing in the CT, and counts as mineral in the X-ray. (c) Apparent diffusion coefficient and high-b-value MR of one
patient, acquired aligned, slice by slice through the prostate. (e) elastix's pair of a head, aligned by the solution
that goes with it.

(c) and (e) lie beside the checkout, in shared/data, and are left out where they are absent. Settings were chosen on the
first motion, on the even slices and with a look at (e), and motions 1, 2, 4 and 7 were looked at meanwhile: `held_out`
names all but the first motion and the even slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import SimpleITK as itk  # noqa: N813 -- its module's name says nothing
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.generated import outcome_of
from benchmarks.registration import projection_of
from benchmarks.report import ROOT
from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, SKELETON, CtVolume, Label, load_ct_volume
from examples.demo.known_motion import MOTION_SEEDS, KnownMotion
from examples.demo.simulated_xray import material_paths, simulate_xray
from examples.demo.truth import LungProjection, projected_body
from examples.demo.working_grid import WorkingGrid
from hilum.intensity import grey_levels
from hilum.types import BoolMask, Image, ProjectionMethod, ViewRelation
from hilum.warp import Warp
from services.fusion.fading import faded
from services.fusion.quality import body_mask
from services.fusion.registration import Registration, RegistrationImage
from services.fusion.resampling import resample

DATA = ROOT.parent / "shared" / "data"
STONE_MM = 12.0
STONE_HU = 1000
# Motions of up to 20 px where 256 columns cover this.
_FIELD_MM = 360.0

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images on one grid.

    Attributes:
        name: such as "a1".
        fixed: uint8 (height, width).
        moving: uint8, on the fixed grid; it fades into the fixed image where it ends.
        body: where measures count: the body, as far as both images show it.
        targets: what should stay visible, by name.
    """

    name: str
    fixed: Grey
    moving: Grey
    body: BoolMask
    targets: dict[str, BoolMask] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PairSet:
    """A kind of pair.

    Attributes:
        name: such as "a".
        title: in words.
        pairs: what figures are printed of.
    """

    name: str
    title: str
    pairs: list[Pair]


_HOW = {False: "true alignment", True: "after registration"}


def held_out(registered: tuple[bool, ...] = (False, True)) -> Iterator[PairSet]:
    """Yields the sets: at true alignment and as registered, without the images that settings were chosen on.

    Args:
        registered: which of the two.
    """
    projections = _Projections.of(load_ct_volume())
    for found in registered:
        pairs = [projections.pair(seed, registered=found) for seed in MOTION_SEEDS[1:]]
        yield PairSet("a_registered" if found else "a", f"CT projection and simulated X-ray, {_HOW[found]}", pairs)
    prostate = DATA / "mr_prostate_adc_hbv"
    if not prostate.is_dir():
        print(f"no (c) and (e): {DATA.relative_to(ROOT.parent)} beside the checkout is absent")
        return
    for found in registered:
        pairs = [pair for number, pair in _diffusion_pairs(registered=found) if number % 2]
        yield PairSet("c_registered" if found else "c", f"ADC and high-b-value MR, {_HOW[found]}", pairs)
    yield PairSet("e", "head, two MR contrasts, aligned by elastix's solution", [_head_pair()])


@dataclass(frozen=True, eq=False)
class _Projections:
    """The CT with its stones, and all that its simulated X-rays are made of."""

    volume: CtVolume
    grid: WorkingGrid
    fixed: RegistrationImage
    take_xray: Callable[[int], Any]
    body: BoolMask
    targets: dict[str, BoolMask]

    @classmethod
    def of(cls, volume: CtVolume) -> _Projections:
        stones = stone_mask(volume)
        volume = replace(
            volume,
            hounsfield=np.where(stones, np.int16(STONE_HU), volume.hounsfield),
            # The simulated X-ray takes labelled skeleton for mineral, and everything else for soft tissue.
            labels=np.where(stones, np.uint8(SKELETON[0]), volume.labels),
        )
        grid, paths = WorkingGrid.over(volume), material_paths(volume)
        lungs = [LungProjection.of(volume, lung).field(grid) for lung in (RIGHT_LUNG, LEFT_LUNG)]
        return cls(
            volume,
            grid,
            projection_of(volume, ProjectionMethod.ATTENUATION),
            lambda seed: simulate_xray(volume, paths, grid, KnownMotion.from_seed(seed), seed),
            projected_body(volume, grid),
            {"lungs": lungs[0] | lungs[1], "stones": np.asarray(grid.resample(np.asarray(stones.any(axis=0))) >= 0.5)},
        )

    def pair(self, seed: int, *, registered: bool) -> Pair:
        xray, size = self.take_xray(seed), (self.grid.height, self.grid.width)
        fixed = grey_levels(Image(self.grid.resample(self.fixed.pixels).astype(np.float32)))
        matrix = xray.motion.fixed_to_moving(self.grid)
        if registered:
            spacing = (self.grid.spacing_mm, self.grid.spacing_mm)
            moving = RegistrationImage(xray.pixels, spacing, xray.exposed)
            matrix = found_alignment(self.fixed, moving) @ self.grid.native_from_grid
        seen = resample(grey_levels(xray.image), Warp(matrix), size, valid=xray.exposed)
        body = self.body & seen.coverage
        targets = {name: target & seen.coverage for name, target in self.targets.items()}
        return Pair(f"a{seed}", fixed, _faded(fixed, seen.pixels, seen.coverage), body, targets)


def stone_mask(volume: CtVolume) -> BoolMask:
    """A ball of 12 mm at the deepest place of each kidney; bool, the volume's shape."""
    stones = np.zeros(volume.labels.shape, np.bool_)
    for kidney in (Label.KIDNEY_RIGHT, Label.KIDNEY_LEFT):
        # The volume ends inside the kidneys, and a stone must lie inside the volume.
        mask = np.pad(volume.mask((kidney,)), 1)
        depth = ndimage.distance_transform_edt(mask, sampling=volume.spacing_mm)[1:-1, 1:-1, 1:-1]
        middle = np.unravel_index(depth.argmax(), depth.shape)
        offset_mm = (np.indices(stones.shape, sparse=True)[axis] - middle[axis] for axis in range(3))
        squares = [(offset * step) ** 2 for offset, step in zip(offset_mm, volume.spacing_mm, strict=True)]
        stones |= squares[0] + squares[1] + squares[2] <= (STONE_MM / 2) ** 2
    return stones


def found_alignment(fixed: RegistrationImage, moving: RegistrationImage) -> Matrix:
    """The affine fixed_to_moving that the registration finds from image content alone."""
    return np.asarray(outcome_of(Registration().run(fixed, moving, ViewRelation.COMPARABLE)).fixed_to_moving)


def _diffusion_pairs(*, registered: bool) -> Iterator[tuple[int, Pair]]:
    """Yields the slices with prostate, by number."""
    folder, case = DATA / "mr_prostate_adc_hbv", "10000_1000000"
    adc, hbv = (itk.ReadImage(str(folder / f"{case}_{name}.mha")) for name in ("adc", "hbv"))
    outlined = itk.ReadImage(str(folder / f"{case}_prostate_seg.nii.gz"))
    identity = itk.Transform()  # type: ignore[no-untyped-call]  # SimpleITK ships no types
    outlined = itk.Resample(outlined, adc, identity, itk.sitkNearestNeighbor)
    arrays = (itk.GetArrayFromImage(image) for image in (adc, hbv, outlined))
    for number, (fixed, moving, prostate) in enumerate(zip(*arrays, strict=True)):
        if not prostate.any():
            continue
        seen, coverage = moving, np.ones(fixed.shape, np.bool_)
        if registered:
            seen, coverage = _moved_and_registered(fixed, moving, number)
        pair = _acquired(f"c{number}", fixed, np.where(coverage, seen, 0), _holding_data(fixed) & coverage)
        pair = replace(pair, moving=_faded(pair.fixed, pair.moving, coverage))
        yield number, replace(pair, targets={"prostate": (prostate > 0) & pair.body})


def _moved_and_registered(fixed: NDArray[Any], moving: NDArray[Any], seed: int) -> tuple[NDArray[np.float32], BoolMask]:
    """The moving image after a known motion, brought back by what the registration finds; and where it has pixels."""
    height, width = fixed.shape
    motion = KnownMotion.from_seed(seed).moving_to_fixed(WorkingGrid(height, width, _FIELD_MM / width, np.eye(3)))
    moved = resample(moving.astype(np.float32), Warp(motion), fixed.shape)
    images = RegistrationImage(fixed.astype(np.float32)), RegistrationImage(moved.pixels, None, moved.coverage)
    back = resample(moved.pixels, Warp(found_alignment(*images)), fixed.shape, valid=moved.coverage)
    return back.pixels, back.coverage


def _head_pair() -> Pair:
    folder = DATA / "registration_head_2d"
    fixed, moving = (
        itk.GetArrayFromImage(itk.ReadImage(str(folder / name)))
        for name in ("fixed.mhd", "solution_deformedmovingimage.mhd")
    )
    return _acquired("e", fixed, moving, body_mask(fixed, np.ones(fixed.shape, np.bool_)))


def _acquired(name: str, fixed: NDArray[Any], moving: NDArray[Any], body: BoolMask) -> Pair:
    grey_fixed, grey_moving = (grey_levels(Image(pixels.astype(np.float32))) for pixels in (fixed, moving))
    return Pair(name, grey_fixed, grey_moving, body)


def _faded(fixed: Grey, moving: Grey, coverage: BoolMask) -> Grey:
    return np.rint(faded(fixed.astype(np.float32), moving.astype(np.float32), coverage)).astype(np.uint8)


def _holding_data(pixels: NDArray[Any]) -> BoolMask:
    """Where the scanner gave values: noise is zero here and there, and a frame of zeros lies around the field."""
    closed = ndimage.binary_closing(np.pad(pixels > 0, 5), iterations=3)
    return np.asarray(ndimage.binary_fill_holes(closed)[5:-5, 5:-5])
