"""Pairs that cannot be registered, five kinds of them, beside pairs that can, for telling the two apart.

Three types of pair: the projection of a CT and a simulated X-ray; a slice seen through a pseudo-modality and the
slice as it was; apparent diffusion coefficient and high-b-value MR. Of each type some are good: one body, moved and
bent as in `benchmarks/deformable_pairs.py`. The others are made of the same images:

- another patient: the moving image is of another body;
- mirrored: the moving image is turned left to right;
- blank: the moving image is noise, smoothed by 0 to 6 px;
- apart: the fixed image shows the upper 40 % of the picture, the moving one the lower 40 %;
- wrong view: the moving image is the lateral X-ray, or the coronal plane of an axial stack.

Development and report share no warp, and no patient except the chest of the demo (as the other body) and the one
prostate, of which the even slices are for development and the odd ones for reports. There is one prostate: its other
patients are heads and abdomens, which is easier than another prostate would be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from benchmarks.deformable_pairs import (
    FIRST_SEED,
    MAPS,
    NOISE,
    SIDE_PX,
    RadiographedVolume,
    radiographed_abdomen,
    seen_through,
)
from benchmarks.real_slices import PATIENTS, Patient, Purpose, squared
from examples.demo.ct_volume import SKELETON, CtVolume, load_ct_volume
from examples.demo.known_warp import KnownWarp, Points, pixel_grid, sample
from hilum.geometry import PatientFrame
from services.fusion.quality import body_mask
from services.fusion.registration import RegistrationImage

Slice = NDArray[np.float64]
_SHOWN = 0.4
# The truth is told at every so many pixels.
_TRUTH_STEP = 4
_DIFFUSION_SLICES = range(6, 26)
# Millimetres from slice to slice, in pixels.
_SLICE_STEP = 1.88
_BONE_HU = 250
_SMOOTHING_PX = (0.0, 1.0, 2.0, 4.0, 6.0)
# Seeds of other benchmarks, and those that earlier ways to doubt were reported on.
_SEEDS_SKIPPED = {Purpose.DEVELOPMENT: 500, Purpose.REPORT: 1500}


class Kind(Enum):
    """What is wrong with a pair."""

    GOOD = "good"
    OTHER_PATIENT = "another patient"
    MIRRORED = "mirrored"
    BLANK = "blank"
    APART = "apart"
    WRONG_VIEW = "wrong view"


class PairType(Enum):
    """What is registered to what."""

    RADIOGRAPH = "CT projection, simulated X-ray"
    PSEUDO = "slice, pseudo-modality"
    DIFFUSION = "ADC, high-b MR"


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Pixels (n, 2) of the fixed image's body, (x, y), and where they lie in the moving image."""

    fixed: Points
    moving: Points


@dataclass(frozen=True, eq=False)
class Trial:
    """Two images that can be registered or not; the truth of those that can."""

    name: str
    type: PairType
    kind: Kind
    fixed: RegistrationImage
    moving: RegistrationImage
    truth: Correspondence | None = None


@dataclass(frozen=True)
class Counts:
    """How many pairs of a type are made: good ones, and of each other kind."""

    good: int
    impossible: int

    def of(self, kind: Kind) -> int:
        """How many of a kind."""
        return self.good if kind is Kind.GOOD else self.impossible


def trials(purpose: Purpose, data: Path, counts: Counts, types: Collection[PairType]) -> Iterator[Trial]:
    """All trials of these types for a purpose; every type has as many.

    Raises:
        FileNotFoundError: the sample data is not there.
    """
    slices = _pseudo_sources(purpose, data)
    if PairType.RADIOGRAPH in types:
        yield from _radiograph_trials(purpose, data, counts)
    if PairType.PSEUDO in types:
        yield from _slice_trials(purpose, slices, slices, counts, PairType.PSEUDO)
    if PairType.DIFFUSION in types:
        yield from _slice_trials(purpose, _diffusion_sources(purpose, data), slices, counts, PairType.DIFFUSION)


def _radiograph_trials(purpose: Purpose, data: Path, counts: Counts) -> Iterator[Trial]:
    chest = RadiographedVolume.of("chest", load_ct_volume())
    if purpose is Purpose.DEVELOPMENT:
        subject, stranger = chest, RadiographedVolume.of("head", _head(data))
    else:
        subject, stranger = radiographed_abdomen(data), chest
    lateral = RadiographedVolume.of(f"{subject.name}, lateral,", _from_the_side(subject.volume))
    sources = {Kind.OTHER_PATIENT: stranger, Kind.WRONG_VIEW: lateral}
    first = FIRST_SEED[purpose] + _SEEDS_SKIPPED[purpose]
    for kind in Kind:
        for seed in range(first, first + counts.of(kind)):
            pair = sources.get(kind, subject).pair(seed)
            images = _spoilt(kind, subject.projection, pair.moving, seed)
            truth = _correspondence(pair.body, pair.truth) if kind is Kind.GOOD else None
            yield Trial(f"{pair.name} {kind.value}", PairType.RADIOGRAPH, kind, *images, truth)


@dataclass(frozen=True, eq=False)
class _Source:
    """One slice of a patient.

    Attributes:
        patient: whose.
        fixed: the slice as the fixed modality shows it, drawn for a seed, intensities about in [0, 1].
        moving: as the moving one does.
        other_plane: a coronal plane of the same body in the moving modality; None where there is but one slice.
    """

    patient: str
    fixed: Callable[[int], Slice]
    moving: Slice
    other_plane: Slice | None


def _slice_trials(
    purpose: Purpose, sources: Sequence[_Source], strangers: Sequence[_Source], counts: Counts, pair_type: PairType
) -> Iterator[Trial]:
    seed = FIRST_SEED[purpose] + _SEEDS_SKIPPED[purpose] + 200
    for kind in Kind:
        usable = [source for source in sources if kind is not Kind.WRONG_VIEW or source.other_plane is not None]
        for source in islice(cycle(usable), counts.of(kind)):
            seed += 1
            picture = source.moving
            if kind is Kind.OTHER_PATIENT:
                others = [stranger for stranger in strangers if stranger.patient != source.patient]
                picture = others[seed % len(others)].moving
            elif kind is Kind.WRONG_VIEW and source.other_plane is not None:
                picture = source.other_plane
            images = _spoilt(kind, _image(source.fixed(seed)), _image(_warped(picture, seed)), seed)
            truth = _truth(source.moving, seed) if kind is Kind.GOOD else None
            yield Trial(f"{source.patient} {kind.value} {seed}", pair_type, kind, *images, truth)


def _pseudo_sources(purpose: Purpose, data: Path) -> list[_Source]:
    sources = []
    names = list(MAPS)
    for patient in PATIENTS[purpose]:
        plane = _coronal_plane(patient, data)
        for number, (_, picture) in enumerate(patient.pictures(data, SIDE_PX)):
            seen = partial(_seen_in_turn, picture, names[number:] + names[:number])
            sources.append(_Source(patient.name, seen, picture, plane))
    return sources


def _seen_in_turn(picture: Slice, maps: Sequence[str], seed: int) -> Slice:
    return seen_through(picture, maps[seed % len(maps)], np.random.default_rng((seed, 1)))


def _diffusion_sources(purpose: Purpose, data: Path) -> list[_Source]:
    adc, high_b = (_diffusion_stack(data, name) for name in ("adc", "hbv"))
    plane = squared(zoom(high_b[:, high_b.shape[1] // 2], (_SLICE_STEP, 1), order=1), SIDE_PX)
    parity = 0 if purpose is Purpose.DEVELOPMENT else 1
    return [
        _Source("prostate", partial(_as_acquired, squared(adc[index], SIDE_PX)), squared(high_b[index], SIDE_PX), plane)
        for index in range(_DIFFUSION_SLICES.start + parity, _DIFFUSION_SLICES.stop, 2)
    ]


def _as_acquired(picture: Slice, seed: int) -> Slice:
    """Its noise is real, so that no seed changes it."""
    del seed
    return picture


def _diffusion_stack(data: Path, name: str) -> Slice:
    file = data / "mr_prostate_adc_hbv" / f"10000_1000000_{name}.mha"
    stack = np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), np.float64)
    return np.clip(stack / np.percentile(stack, 99.5), 0, 1)


def _coronal_plane(patient: Patient, data: Path) -> Slice | None:
    """The middle coronal plane of a stack of axial slices, on a square; None of a single slice."""
    stack = patient.stack(data)
    if len(stack) == 1:
        return None
    # The slices of these stacks lie 3 to 10 pixels apart; a plane that is too tall or too flat is no less wrong.
    return squared(zoom(stack[:, stack.shape[1] // 2], (stack.shape[2] / 2 / len(stack), 1), order=1), SIDE_PX)


def _head(data: Path) -> CtVolume:
    """The CT of a head, every fourth pixel; what is dense is bone. Uneven gaps between slices do not matter here."""
    files = sorted((data / "ct_head_tilted_dicom").glob("*.dcm"))
    slices = [pydicom.dcmread(file) for file in files]
    stack = np.stack([scan.pixel_array[::4, ::4] * scan.RescaleSlope + scan.RescaleIntercept for scan in slices])
    coronal = np.maximum(stack[::-1].transpose(1, 0, 2), -1024).astype(np.int16)
    in_plane, between = 4 * float(slices[0].PixelSpacing[0]), float(slices[0].SliceThickness)
    labels = np.where(coronal > _BONE_HU, SKELETON[0], 0).astype(np.uint8)
    return _volume(coronal, labels, (in_plane, between, in_plane))


def _from_the_side(volume: CtVolume) -> CtVolume:
    """The same body, its left side in front."""
    depth_mm, row_mm, column_mm = volume.spacing_mm
    return _volume(
        np.ascontiguousarray(volume.hounsfield.transpose(2, 1, 0)),
        np.ascontiguousarray(volume.labels.transpose(2, 1, 0)),
        (column_mm, row_mm, depth_mm),
    )


def _volume(
    hounsfield: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> CtVolume:
    depth_mm, row_mm, column_mm = spacing_mm
    frame = PatientFrame(
        (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)), (column_mm, row_mm, depth_mm)
    )
    return CtVolume(hounsfield, labels, spacing_mm, frame)


def _warped(picture: Slice, seed: int) -> Slice:
    warp = KnownWarp.from_seed(seed, picture.shape)
    noise = np.random.default_rng((seed, 3)).normal(0, NOISE, picture.shape)
    return np.asarray(sample(picture, warp.moving_to_fixed(pixel_grid(picture.shape))) + noise, np.float64)


def _truth(picture: Slice, seed: int) -> Correspondence:
    """Of a slice that `_warped` moves."""
    body = body_mask(picture, np.ones(picture.shape, np.bool_))
    grid = pixel_grid(picture.shape)[::_TRUTH_STEP, ::_TRUTH_STEP][body[::_TRUTH_STEP, ::_TRUTH_STEP]]
    return Correspondence(grid, KnownWarp.from_seed(seed, picture.shape).fixed_to_moving(grid))


def _correspondence(body: NDArray[np.bool_], places: Points) -> Correspondence:
    chosen = body[::_TRUTH_STEP, ::_TRUTH_STEP]
    grid = pixel_grid(body.shape)
    return Correspondence(*(points[::_TRUTH_STEP, ::_TRUTH_STEP][chosen] for points in (grid, places)))


def _image(picture: Slice) -> RegistrationImage:
    return RegistrationImage(picture.astype(np.float32))


def _spoilt(
    kind: Kind, fixed: RegistrationImage, moving: RegistrationImage, seed: int
) -> tuple[RegistrationImage, RegistrationImage]:
    """What mirrors, blanks or parts two images; other kinds are made elsewhere."""
    if kind is Kind.MIRRORED:
        return fixed, _flipped(moving)
    if kind is Kind.BLANK:
        noise = np.random.default_rng((seed, 4)).normal(0.5, 0.1, moving.size)
        smooth = gaussian_filter(noise, _SMOOTHING_PX[seed % len(_SMOOTHING_PX)])
        return fixed, replace(moving, pixels=smooth.astype(np.float32))
    if kind is Kind.APART:
        rows = round(_SHOWN * fixed.size[0])
        lower = moving.size[0] - round(_SHOWN * moving.size[0])
        return _rows(fixed, slice(None, rows)), _rows(moving, slice(lower, None))
    return fixed, moving


def _flipped(image: RegistrationImage) -> RegistrationImage:
    valid = None if image.valid is None else np.ascontiguousarray(image.valid[:, ::-1])
    return replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1]), valid=valid)


def _rows(image: RegistrationImage, rows: slice) -> RegistrationImage:
    valid = None if image.valid is None else np.ascontiguousarray(image.valid[rows])
    return replace(image, pixels=np.ascontiguousarray(image.pixels[rows]), valid=valid)
