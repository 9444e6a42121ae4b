"""Pairs of volumes with known warps, for the benchmark of volume registration.

A real volume is warped by a known motion and a known bend, and what is seen of it is changed: either another exposure
of the same kind (noise), or a pseudo-modality, in which tissues have other grey levels in another order, a bias field,
and other noise. A pseudo-modality is no MR image: it shows no contrast that the volume lacks. Read from the sample
data, never shipped.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.real_slices import Purpose
from examples.demo.ct_volume import load_ct_volume
from hilum.displacement_field import grid_points
from hilum.geometry import Float, PatientFrame
from services.fusion.volume_registration import RegistrationVolume

# It ships no types.
sitk: Any = importlib.import_module("SimpleITK")

Voxels = NDArray[np.float32]

SEEDS = {Purpose.DEVELOPMENT: range(1000, 1003), Purpose.REPORT: range(3)}
KINDS = ("ct", "pseudo")
_TURN_DEG, _SCALE, _SHIFT = 10.0, 0.08, 0.08
# Of the volume's longest side: distance of the bend's control points, and its largest displacement.
_SPACING, _PEAK = 0.19, (0.024, 0.048)
_NOISE = {"ct": 0.02, "pseudo": 0.03}
# Intensity of the volume, and what the pseudo-modality shows for it: not in order, as MR shows CT's tissues.
_MAP = ((0.0, 0.25, 0.42, 0.5, 0.58, 0.75, 1.0), (0.0, 0.15, 0.95, 0.45, 0.75, 0.2, 0.05))
_CT_WINDOW = (-250.0, 350.0)
_BODY = 0.08


@dataclass(frozen=True, eq=False)
class VolumePair:
    """Two volumes and the truth.

    Attributes:
        name: subject, kind and seed.
        fixed: the warped volume.
        moving: the volume as it was read, or a pseudo-modality of it.
        points: (n, 3), voxels (x, y, slice) of the fixed volume's body.
        truth: (n, 3), where they lie in the moving volume.
    """

    name: str
    fixed: RegistrationVolume
    moving: RegistrationVolume
    points: Float
    truth: Float

    def errors_mm(self, found: Float) -> Float:
        """(n,): distances in mm between found and true moving voxels (n, 3)."""
        errors: Float = np.linalg.norm((found - self.truth) * self.moving.frame.spacing_mm, axis=1)
        return errors


@dataclass(frozen=True, eq=False)
class Subject:
    """A real volume, intensities in [0, 1].

    Attributes:
        name: such as "chest".
        voxels: float32 (depth, height, width), 128 along each axis at most.
        frame: where they lie.
    """

    name: str
    voxels: Voxels
    frame: PatientFrame

    def thinned(self, every: int) -> Subject:
        """The same of every so many voxels along each axis."""
        voxels = np.ascontiguousarray(self.voxels[::every, ::every, ::every])
        x, y, z = (spacing * every for spacing in self.frame.spacing_mm)
        return Subject(f"{self.name} of {max(voxels.shape)}", voxels, replace(self.frame, spacing_mm=(x, y, z)))

    def mirrored(self) -> Subject:
        """The same with left and right exchanged: another body."""
        return Subject(f"{self.name} mirrored", np.ascontiguousarray(self.voxels[:, :, ::-1]), self.frame)


def subjects(purpose: Purpose, data: Path) -> list[Subject]:
    """The volumes of a purpose; the two share none."""
    if purpose is Purpose.DEVELOPMENT:
        return [
            _read("abdomen", data / "ct_kidney_stones" / "ct_full.nii.gz", _CT_WINDOW),
            _read("brain1", data / "mr_brain_breast_labels" / "brain1_image.nrrd", None),
        ]
    chest = load_ct_volume()
    whole = Subject("chest", _windowed(chest.hounsfield.astype(np.float32), _CT_WINDOW), chest.frame)
    return [
        _isotropic(whole),
        _read("brain2", data / "mr_brain_breast_labels" / "brain2_image.nrrd", None),
    ]


def volume_pairs(purpose: Purpose, data: Path, kind: str) -> Iterator[VolumePair]:
    """Yield the pairs of a kind: "ct" shows both volumes alike, "pseudo" does not."""
    for subject in subjects(purpose, data):
        for seed in SEEDS[purpose]:
            yield known_pair(subject, subject, kind, seed)


def known_pair(seen: Subject, shown: Subject, kind: str, seed: int) -> VolumePair:
    """A pair whose fixed volume shows one subject and whose moving volume another; the truth is of the first.

    Args:
        seen: what is warped into the fixed volume.
        shown: what the moving volume shows; the same subject, or one that cannot be registered.
        kind: one of `KINDS`.
        seed: of warp and noise.
    """
    random = np.random.default_rng(seed)
    size = seen.voxels.shape
    places = _warped(size, seen.frame, random)
    warped = ndimage.map_coordinates(seen.voxels, places[:, ::-1].T, order=1, mode="constant").reshape(size)
    moving = shown.voxels if kind == "ct" else _pseudo(shown.voxels, random)
    noisy = [
        (voxels + random.normal(0.0, _NOISE[kind], voxels.shape)).astype(np.float32) for voxels in (warped, moving)
    ]
    inside = ((places >= 0) & (places <= np.array(seen.voxels.shape[::-1]) - 1)).all(axis=1)
    body = ndimage.binary_fill_holes(warped > _BODY).ravel() & inside
    chosen = np.flatnonzero(body)[:: max(1, int(body.sum()) // 20_000)]
    return VolumePair(
        f"{shown.name} {kind} {seed}" if seen is shown else f"{seen.name}, {shown.name} {kind} {seed}",
        RegistrationVolume(noisy[0], seen.frame),
        RegistrationVolume(noisy[1], shown.frame),
        grid_points(size)[chosen],
        places[chosen],
    )


def _warped(size: tuple[int, ...], frame: PatientFrame, random: np.random.Generator) -> Float:
    """(n, 3): where each voxel goes, in voxels: a bend, then a turn, stretch and shift about the middle."""
    counts, spacing = np.array(size[::-1], np.float64), np.asarray(frame.spacing_mm)
    longest = float((counts * spacing).max())
    bend = np.zeros((3, *size))
    coarse = np.maximum(np.ceil(counts * spacing / (_SPACING * longest)).astype(int), 1) + 3
    for component in range(3):
        control = random.normal(size=coarse[::-1])
        zoomed = np.meshgrid(
            *(np.linspace(1.0, count - 2.0, length) for count, length in zip(coarse[::-1], size, strict=True)),
            indexing="ij",
        )
        bend[component] = ndimage.map_coordinates(control, zoomed, order=3, prefilter=False)
    bend *= random.uniform(*_PEAK) * longest / np.linalg.norm(bend, axis=0).max()
    middle = (counts - 1) / 2
    points_mm = (grid_points(size) - middle) * spacing + bend.reshape(3, -1).T
    axis = random.normal(size=3)
    turn = Rotation.from_rotvec(np.deg2rad(random.uniform(0.3, 1.0) * _TURN_DEG) * axis / np.linalg.norm(axis))
    linear = turn.as_matrix() @ np.diag(1.0 + random.uniform(-_SCALE, _SCALE, 3))
    shift = random.uniform(-_SHIFT, _SHIFT, 3) * longest
    places: Float = (points_mm @ linear.T + shift) / spacing + middle
    return places


def _pseudo(voxels: Voxels, random: np.random.Generator) -> Voxels:
    """Other grey levels for the same tissues, and a bias field of +-30 %."""
    shown = np.interp(voxels, *_MAP)
    bias = np.meshgrid(*(np.linspace(-1, 1, count) for count in voxels.shape), indexing="ij")
    weights = random.uniform(-0.3, 0.3, 3) / 3
    factor = 1.0 + sum(weight * along for weight, along in zip(weights, bias, strict=True))
    return np.asarray(shown * factor, np.float32)


def _read(name: str, path: Path, window: tuple[float, float] | None) -> Subject:
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image).astype(np.float32)
    direction = np.array(image.GetDirection()).reshape(3, 3).tolist()
    rows = tuple((float(x), float(y), float(z)) for x, y, z in direction)
    x, y, z = image.GetOrigin()
    i, j, k = image.GetSpacing()
    frame = PatientFrame((x, y, z), (rows[0], rows[1], rows[2]), (i, j, k))
    scaled = _windowed(voxels, window or (0.0, float(np.percentile(voxels, 99.5))))
    return _isotropic(Subject(name, scaled, frame))


def _windowed(voxels: Voxels, window: tuple[float, float]) -> Voxels:
    return np.asarray(np.clip((voxels - window[0]) / (window[1] - window[0]), 0, 1), np.float32)


def _isotropic(subject: Subject) -> Subject:
    """At most 128 voxels along each axis, means of those they cover; coarser axes stay as they are."""
    spacing, counts = np.asarray(subject.frame.spacing_mm), np.array(subject.voxels.shape[::-1])
    wanted = np.maximum(spacing, (counts * spacing).max() / 128)
    kept = np.maximum(np.floor(counts * spacing / wanted + 1e-6).astype(int), 1)
    sigmas = 0.4 * np.maximum(wanted / spacing - 1.0, 0.0)
    smooth = ndimage.gaussian_filter(subject.voxels, sigmas[::-1])
    step = wanted / spacing
    first = (step - 1) / 2
    voxels = ndimage.affine_transform(
        smooth, step[::-1], first[::-1], output_shape=tuple(kept[::-1]), order=1, mode="nearest"
    )
    frame = subject.frame
    origin = np.asarray(frame.origin_mm) + np.asarray(frame.direction) @ (first * spacing)
    moved = PatientFrame(
        (float(origin[0]), float(origin[1]), float(origin[2])),
        frame.direction,
        (float(wanted[0]), float(wanted[1]), float(wanted[2])),
        frame.frame_of_reference_uid,
    )
    return Subject(subject.name, np.clip(voxels, 0, 1).astype(np.float32), moved)
