"""One stone in one patient: the CT and the simulated X-ray with it, the click, and where the stone really lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.demo.ct_volume import CtVolume
from examples.demo.known_motion import KnownMotion, apply
from examples.demo.simulated_xray import (
    BONE_G_CM3,
    BONE_HU,
    SOFT_G_CM3,
    SOFT_HU,
    MaterialPaths,
    simulate_xray,
)
from examples.demo.truth import Mask
from examples.stones.patient import Patient
from examples.stones.prompts import inner_click
from examples.stones.stone import Float, RasterisedStone, Stone
from hilum import CT_STONE, Image, Prompt

_PLACES_TRIED: Final = 2000
# A stone nearer to the X-ray's edge is placed elsewhere.
_EDGE_MM: Final = 12.0


class NoPlaceError(RuntimeError):
    """No place was found where the stone lies in a kidney and in the X-ray."""


@dataclass(frozen=True, eq=False)
class PlacedStone:
    """A stone at its place in a volume.

    Attributes:
        stone: what it is made of.
        voxels: where its raster lies in the volume.
        share: how much of each of these voxels it fills.
        centroid: (3,), its centre of mass in voxels (depth, row, column).
    """

    stone: Stone
    voxels: tuple[slice, slice, slice]
    share: Float
    centroid: Float

    @property
    def depth(self) -> int:
        """The coronal slice that shows most of it, to which a person scrolls."""
        return int(self.voxels[0].start + self.share.sum(axis=(1, 2)).argmax())

    def into(self, volume: CtVolume) -> CtVolume:
        """The CT with the stone; voxels that it fills in part are mixed."""
        hounsfield = volume.hounsfield.copy()
        mixed = hounsfield[self.voxels] * (1 - self.share) + self.stone.hounsfield * self.share
        hounsfield[self.voxels] = np.rint(mixed).astype(np.int16)
        return replace(volume, hounsfield=hounsfield)

    def on_rays(self, volume: CtVolume, paths: MaterialPaths) -> MaterialPaths:
        """What antero-posterior rays meet with the stone in the body.

        The demo's forward model counts as bone only what is labelled as skeleton, so that contrast medium does not
        show. The stone takes the place of soft tissue and is mixed of soft tissue and bone by its CT number.
        """
        before = volume.hounsfield[self.voxels].astype(np.float64)
        soft_before = np.clip((np.minimum(before, SOFT_HU) + 1000) / (1000 + SOFT_HU), 0, 1)
        bone = float(np.clip((self.stone.hounsfield - SOFT_HU) / (BONE_HU - SOFT_HU), 0, 1))
        step_cm = volume.spacing_mm[0] / 10
        more_soft = (self.share * (1 - bone - soft_before)).sum(axis=0)
        more_bone = (self.share * bone).sum(axis=0)
        soft, hard = paths.soft.copy(), paths.bone.copy()
        soft[self.voxels[1:]] += more_soft * step_cm * SOFT_G_CM3
        hard[self.voxels[1:]] += more_bone * step_cm * BONE_G_CM3
        return MaterialPaths(soft, hard)

    def in_slice(self, volume: CtVolume) -> NDArray[np.float64]:
        """Its share of the pixels of the coronal slice at `depth`; shape (height, width) of the volume."""
        shown = np.zeros(volume.hounsfield.shape[1:])
        shown[self.voxels[1:]] = self.share[self.depth - self.voxels[0].start]
        return shown


@dataclass(frozen=True, eq=False)
class Case:
    """What a surgeon has, and the truth.

    Attributes:
        patient: whose CT it is.
        seed: of stone, place, click, motion and noise.
        placed: the stone.
        volume: the CT with it.
        ct: the coronal slice that shows most of it.
        outline: where this slice shows it: the truth, bool of the grid's shape.
        prompt: one click on it.
        xray: the simulated X-ray of the moved body, with the stone.
        ct_px: (2,), the stone's centre of mass along the rays, in the grid's pixels: the truth in the CT.
        xray_px: (2,), the same in the X-ray: the truth there.
    """

    patient: Patient
    seed: int
    placed: PlacedStone
    volume: CtVolume
    ct: Image
    outline: Mask
    prompt: Prompt
    xray: Image
    ct_px: Float
    xray_px: Float

    @classmethod
    def drawn(cls, patient: Patient, seed: int) -> Case:
        """Draw a stone and its place, move the body, take the pictures.

        Raises:
            NoPlaceError: the stone fits nowhere.
        """
        random = np.random.default_rng((seed, 3))
        motion = KnownMotion.from_seed(seed).fixed_to_moving(patient.grid)
        placed = _placed(patient, Stone.drawn(random), motion, random)
        outline = np.asarray(patient.grid.resample(placed.in_slice(patient.volume)) >= 0.5, np.bool_)
        volume, paths = placed.into(patient.volume), placed.on_rays(patient.volume, patient.paths)
        ct_px = _on_grid(patient, placed.centroid)
        return cls(
            patient,
            seed,
            placed,
            volume,
            patient.grid.slice_image(volume, placed.depth, CT_STONE),
            outline,
            Prompt((inner_click(outline, random),)),
            simulate_xray(volume, paths, patient.grid, KnownMotion.from_seed(seed), seed).image,
            ct_px,
            apply(motion, ct_px[None])[0],
        )


def _placed(patient: Patient, stone: Stone, motion: Float, random: np.random.Generator) -> PlacedStone:
    spacing = np.asarray(patient.volume.spacing_mm)
    raster = stone.rasterised(patient.volume.spacing_mm, random.uniform(-0.5, 0.5, 3) * spacing)
    places = np.argwhere(patient.free)
    for place in random.permutation(places)[:_PLACES_TRIED]:
        voxels = _voxels(raster, place)
        free = patient.free[voxels]
        # At the volume's edge the cut is smaller than the raster.
        if free.shape != raster.share.shape or not free[raster.share > 0].all():
            continue
        centroid = place + raster.centroid
        if _shown(patient, apply(motion, _on_grid(patient, centroid)[None])[0]):
            return PlacedStone(stone, voxels, raster.share, centroid)
    raise NoPlaceError(f"a stone of {stone.size_mm:.0f} mm fits nowhere in the kidneys of the {patient.name} CT")


def _voxels(raster: RasterisedStone, place: NDArray[np.int64]) -> tuple[slice, slice, slice]:
    first = [int(middle) - side // 2 for middle, side in zip(place, raster.share.shape, strict=True)]
    depth, row, column = (slice(max(0, at), at + side) for at, side in zip(first, raster.share.shape, strict=True))
    return depth, row, column


def _on_grid(patient: Patient, voxel: Float) -> Float:
    """Where the ray through a voxel position (depth, row, column) meets the grid: a pixel (x, y)."""
    grid_from_native = np.asarray(np.linalg.inv(patient.grid.native_from_grid), np.float64)
    return np.asarray(apply(grid_from_native, voxel[None, [2, 1]])[0], np.float64)


def _shown(patient: Patient, pixel: Float) -> bool:
    edge = _EDGE_MM / patient.grid.spacing_mm
    last = np.array([patient.grid.width, patient.grid.height]) - 1
    return bool((pixel >= edge).all() and (pixel <= last - edge).all())
