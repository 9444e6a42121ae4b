"""A simulated antero-posterior radiograph of the CT volume.

The forward model is the demo's own and shares nothing with the projection that Hilum registers to it: two
materials, a spectrum of four energies (so the beam hardens), scatter, quantum noise and detector blur, and a
radiograph's processing. A registration between the two is therefore not a comparison of a formula with itself.

Mass attenuation coefficients: Hubbell and Seltzer, NIST Standard Reference Database 126 (soft tissue and cortical
bone of ICRU report 44). Scatter: proportional to P * -ln(P) of the primary P, spread widely, after Ohnesorge et
al., Eur. Radiol. 9 (1999) 563.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from examples.demo.ct_volume import SKELETON, CtVolume
from examples.demo.known_motion import KnownMotion
from examples.demo.truth import body_mask
from examples.demo.working_grid import WorkingGrid
from hilum.geometry import DetectorFrame, ImageGeometry
from hilum.types import Image, ImageSource, Window

# A filtered 120 kVp beam in four bins: energy, share of the photons, attenuation in cm2/g of soft tissue and bone.
ENERGY_KEV: Final = np.array([40.0, 60.0, 80.0, 100.0])
PHOTON_SHARE: Final = np.array([0.18, 0.38, 0.27, 0.17])
SOFT_CM2_G: Final = np.array([0.2688, 0.2048, 0.1823, 0.1693])
BONE_CM2_G: Final = np.array([0.6655, 0.3148, 0.2229, 0.1855])

SOFT_G_CM3: Final = 1.06
BONE_G_CM3: Final = 1.92
# CT numbers of the two materials at the scanner's effective energy.
SOFT_HU: Final = 60.0
BONE_HU: Final = 1585.0

PHOTONS_PER_MM2: Final = 2.0e5
SCATTER_FRACTION: Final = 0.08
SCATTER_SIGMA_MM: Final = 35.0
BLUR_SIGMA_MM: Final = 0.45
DISPLAY_MAX: Final = 4095


@dataclass(frozen=True, eq=False)
class MaterialPaths:
    """Mass per area along each antero-posterior ray in g/cm2, shape (rows, columns) of the volume."""

    soft: npt.NDArray[np.float64]
    bone: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedXray:
    """A simulated radiograph, processed for presentation.

    Attributes:
        pixels: uint16, shape (height, width) of the grid: 1 to 4095, bone is bright and lungs are dark; 0 where
            the beam did not reach.
        exposed: bool, where the beam passed through the volume's field.
        motion: the motion of the body between the CT and this picture.
        grid: the grid of the picture.
    """

    pixels: npt.NDArray[np.uint16]
    exposed: npt.NDArray[np.bool_]
    motion: KnownMotion
    grid: WorkingGrid

    @property
    def image(self) -> Image:
        """The picture as Hilum takes it, marked as simulated; a parallel beam magnifies nothing."""
        frame = DetectorFrame((self.grid.spacing_mm, self.grid.spacing_mm), magnification=1.0)
        window = Window(center=DISPLAY_MAX / 2, width=DISPLAY_MAX)
        source = ImageSource(modality="DX", simulated=True)
        return Image(self.pixels, ImageGeometry(frame), padding_value=0, window=window, source=source)


def material_paths(volume: CtVolume) -> MaterialPaths:
    """Add soft tissue and bone up along parallel antero-posterior rays."""
    soft = np.zeros(volume.hounsfield.shape[1:])
    bone = np.zeros_like(soft)
    for soft_share, bone_share in material_shares(volume):
        soft += soft_share
        bone += bone_share
    step_cm = volume.spacing_mm[0] / 10
    return MaterialPaths(soft=soft * step_cm * SOFT_G_CM3, bone=bone * step_cm * BONE_G_CM3)


def material_shares(volume: CtVolume) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield the shares of soft tissue and bone in each voxel, coronal slice by coronal slice, front to back.

    The patient table is left out. Iodine is washed out: outside the skeleton nothing counts as denser than soft
    tissue, as in a radiograph taken without contrast medium.
    """
    body = body_mask(volume)
    # Two voxels of margin: labels end a little inside the cortex and leave out vertebral processes.
    skeleton = ndimage.binary_dilation(volume.mask(SKELETON), iterations=2)
    for hounsfield, in_body, in_skeleton in zip(volume.hounsfield, body, skeleton, strict=True):
        hu = hounsfield.astype(np.float64)
        bone_share = np.where(in_skeleton, np.clip((hu - SOFT_HU) / (BONE_HU - SOFT_HU), 0, 1), 0)
        soft_share = np.clip((np.minimum(hu, SOFT_HU) + 1000) / (1000 + SOFT_HU), 0, 1) - bone_share
        yield in_body * soft_share, in_body * bone_share


def simulate_xray(
    volume: CtVolume, paths: MaterialPaths, grid: WorkingGrid, motion: KnownMotion, seed: int
) -> SimulatedXray:
    """Take the picture of the moved body.

    The motion acts on the path lengths, before anything the detector does, so noise and blur are never
    interpolated.

    Args:
        volume: the CT.
        paths: its `material_paths`.
        grid: the detector's pixels.
        motion: the body's motion since the CT.
        seed: of the quantum noise.
    """
    to_fixed = motion.moving_to_fixed(grid)
    soft = np.clip(grid.resample(paths.soft, to_fixed, order=3), 0, None)
    bone = np.clip(grid.resample(paths.bone, to_fixed, order=3), 0, None)
    detected, open_beam = detect(transmission(soft, bone), grid.spacing_mm, np.random.default_rng(seed))
    exposed = grid.exposed(volume, to_fixed)
    attenuation = -np.log(np.maximum(detected, 1.0) / open_beam)
    return SimulatedXray(present(attenuation, exposed), exposed, motion, grid)


def transmission(soft: npt.NDArray[np.float64], bone: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The share of photons that pass at each energy (Beer and Lambert).

    Args:
        soft: g/cm2, shape (height, width).
        bone: g/cm2, the same shape.

    Returns:
        float64, shape (4, height, width), in the order of `ENERGY_KEV`.
    """
    return np.asarray(np.exp(-np.multiply.outer(SOFT_CM2_G, soft) - np.multiply.outer(BONE_CM2_G, bone)))


def detect(
    passed: npt.NDArray[np.float64], spacing_mm: float, random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], float]:
    """Energy absorbed in each detector pixel, and what an open beam would leave there, in keV."""
    photons = PHOTONS_PER_MM2 * spacing_mm**2 * PHOTON_SHARE
    energy = np.zeros(passed.shape[1:])
    for kev, count, primary in zip(ENERGY_KEV, photons, passed, strict=True):
        scatter = SCATTER_FRACTION * ndimage.gaussian_filter(
            -primary * np.log(primary), SCATTER_SIGMA_MM / spacing_mm, mode="nearest"
        )
        energy += kev * random.poisson(count * (primary + scatter))
    return ndimage.gaussian_filter(energy, BLUR_SIGMA_MM / spacing_mm), float(ENERGY_KEV @ photons)


def present(attenuation: npt.NDArray[np.float64], exposed: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """Window between the 1st and 99th percentile of the body's attenuation; unexposed pixels are shuttered."""
    body = exposed & (attenuation > 0.5)
    low, high = np.percentile(attenuation[body], (1.0, 99.0))
    shown = 1 + np.clip((attenuation - low) / (high - low), 0, 1) * (DISPLAY_MAX - 1)
    return np.where(exposed, np.rint(shown), 0).astype(np.uint16)
