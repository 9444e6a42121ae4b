"""The command line on real services, in a process of its own: doctor, segment, register, fuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import nibabel
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from hilum.cli.registration_report import FLAGS
from hilum.images import read_volume
from hilum.serving.bundle import Bundle
from hilum.transform_file import read_transform
from hilum.transform_itk import read_itk_transform
from hilum.transform_nifti import read_nifti_transform
from tests.contract.volumes import FIXED, SPACING_MM
from tests.integration.processes import ROOT, decoder_of, free_port, service

TIMEOUT_S = 180
Grey: TypeAlias = NDArray[np.uint8]


@pytest.fixture(scope="module")
def addresses(default_bundle: Bundle) -> Iterator[dict[str, str]]:
    """Encoder, decoder and fusion without Redis, as the environment variables that name them."""
    with ExitStack() as stack:
        encoder = stack.enter_context(service("encoder", redis_url=""))
        decoder = stack.enter_context(decoder_of(encoder, ""))
        fusion = stack.enter_context(service("fusion", redis_url="", encoder=encoder.address, decoder=decoder.address))
        yield {
            "HILUM_ENCODER": encoder.address,
            "HILUM_DECODER": decoder.address,
            "HILUM_FUSION": fusion.address,
        }


def hilum(addresses: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hilum.cli", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **addresses},
        timeout=TIMEOUT_S,
    )


def phantom(shift_x: int, shift_y: int) -> Grey:
    """A body with two organs and a spine, 160 x 160, simulated; moved by whole pixels."""
    y, x = np.mgrid[:160, :160].astype(np.float64)
    x, y = x - shift_x, y - shift_y
    levels = np.full(x.shape, 10.0)
    for centre_x, centre_y, radius_x, radius_y, level in (
        (80, 80, 60, 45, 90),
        (55, 75, 25, 20, 150),
        (110, 70, 12, 18, 190),
        (82, 110, 8, 8, 250),
    ):
        levels[((x - centre_x) / radius_x) ** 2 + ((y - centre_y) / radius_y) ** 2 <= 1] = level
    noise = np.random.default_rng(shift_x).normal(0, 4, x.shape)
    grey: Grey = np.clip(levels + noise, 0, 255).astype(np.uint8)
    return grey


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The phantom, and the phantom 7 px to the right and 5 px up."""
    paths = tmp_path / "fixed.png", tmp_path / "moving.png"
    for path, levels in zip(paths, (phantom(0, 0), phantom(7, -5)), strict=True):
        PIL.Image.fromarray(levels).save(path)
    return paths


def test_the_doctor_finds_real_services_well(addresses: dict[str, str]) -> None:
    """All three are serving, the model segments a synthetic disc, fusion fuses, and the exit code is 0."""
    run = hilum(addresses, "doctor")
    assert run.returncode == 0, run.stdout + run.stderr
    for service_name in ("encoder", "decoder", "fusion"):
        assert f"ok  {service_name}  " in run.stdout
    assert "none configured" in run.stdout
    assert "self-test of lite-medsam-click" in run.stdout
    assert "self-test of fusion" in run.stdout


def test_the_doctor_tells_a_service_at_the_wrong_address(addresses: dict[str, str]) -> None:
    """The encoder's address given for the decoder: health says so, the self-test fails, and the exit code is 1."""
    run = hilum(addresses | {"HILUM_DECODER": addresses["HILUM_ENCODER"]}, "doctor", "--without-fusion")
    assert run.returncode == 1
    assert "is no hilum.v1.DecoderService" in run.stdout
    assert "Is --decoder the right address?" in run.stdout


def test_the_doctor_tells_a_redis_that_is_away(default_bundle: Bundle, addresses: dict[str, str]) -> None:
    """A decoder whose Redis does not answer works: the self-test passes, Redis is named, and the exit code is 1."""
    encoders = json.dumps([addresses["HILUM_ENCODER"]])
    with service("decoder", redis_url=f"redis://127.0.0.1:{free_port()}", encoders=encoders) as decoder:
        run = hilum(addresses | {"HILUM_DECODER": decoder.address}, "doctor", "--without-fusion")
    assert run.returncode == 1
    assert "decoder's redis: Start it, or correct HILUM_REDIS_URL" in run.stdout
    assert "ok      self-test of lite-medsam-click" in run.stdout


def test_an_organ_is_outlined_and_written(addresses: dict[str, str], pair: tuple[Path, Path], tmp_path: Path) -> None:
    """The larger organ of the phantom, marked by a box, is found to within a tenth of its area."""
    report = tmp_path / "organ.json"
    run = hilum(addresses, "segment", pair[0], "--box", "28,53,82,97", "--out", report, "--out", tmp_path / "x.png")
    assert run.returncode == 0, run.stderr
    (segment,) = json.loads(report.read_text())["segments"]
    assert segment["area_px"] == pytest.approx(np.pi * 25 * 20, rel=0.1)
    assert f" {segment['area_px']} " in run.stdout


def test_images_are_registered_and_fused(addresses: dict[str, str], pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A known shift is found to within a pixel from two outlined organs; the transform file then fuses the images."""
    transform, boards, fused = (tmp_path / name for name in ("transform.json", "boards.png", "fused.png"))
    targets = ["--target-box-fixed", "28,53,82,97", "--target-box-moving", "35,48,89,92"]
    modalities = ["--fixed-modality", "CT", "--moving-modality", "DX"]
    outputs = ["--out", transform, "--out", boards]
    run = hilum(addresses, "register", *pair, "--view", "comparable", *targets, *modalities, *outputs)
    assert run.returncode == 0, run.stderr
    assert "UNVERIFIED_MODALITY_PAIR" not in run.stdout
    found = read_transform(transform)
    moved = found.apply([[55, 75], [110, 70], [82, 110]]) - [[55, 75], [110, 70], [82, 110]]
    assert moved == pytest.approx(np.tile([7.0, -5.0], (3, 1)), abs=1.0)
    assert "match loss" in run.stdout
    flags = [word for flag in found.flags for word in ("--accept-flag", flag)]
    run = hilum(addresses, "fuse", *pair, "--transform", transform, "--out", fused, *flags)
    assert run.returncode == 0, run.stderr
    with PIL.Image.open(boards) as both, PIL.Image.open(fused) as one:
        assert both.width > 2 * 160
        assert one.width >= 160


def test_images_are_registered_deformably_and_fused(
    addresses: dict[str, str], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """With a model that bends, a landmark and a start the file holds a displacement field, through which fuse goes."""
    start, transform, boards, fused = (tmp_path / name for name in ("start.json", "bent.json", "boards.png", "x.png"))
    run = hilum(addresses, "register", *pair, "--view", "comparable", "--transform-model", "rigid", "--out", start)
    assert run.returncode == 0, run.stderr
    options = ["--transform-model", "deformable", "--initial", start, "--landmark", "55,75,62,70", "--stiffness", "3"]
    run = hilum(addresses, "register", *pair, "--view", "comparable", *options, "--out", transform, "--out", boards)
    assert run.returncode == 0, run.stderr
    for words in ("deformation 4", "landmark 1: ", "0.00% folds"):
        assert words in run.stdout
    found = read_transform(transform)
    assert found.displacement_field is not None
    assert found.apply([[55, 75]])[0] == pytest.approx([62, 70], abs=1.0)
    flags = [word for flag in found.flags for word in ("--accept-flag", flag)]
    run = hilum(addresses, "fuse", *pair, "--transform", transform, "--out", fused, *flags)
    assert run.returncode == 0, run.stderr
    assert fused.exists()


def test_a_flagged_transform_is_refused_until_its_flag_is_accepted(
    addresses: dict[str, str], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """A slab and a projection of unknown modalities are flagged: fuse names the way on, and with it draws flags in."""
    transform, fused = tmp_path / "transform.json", tmp_path / "fused.png"
    run = hilum(addresses, "register", *pair, "--view", "slab-and-projection", "--out", transform)
    assert run.returncode == 0, run.stderr
    for flag in ("VIEWS_DIFFER", "UNVERIFIED_MODALITY_PAIR"):
        assert f"FLAG {flag}" in run.stdout
    refused = hilum(addresses, "fuse", *pair, "--transform", transform, "--out", fused)
    assert refused.returncode == 1
    assert "--accept-flag" in refused.stderr
    assert not fused.exists()
    flags = [word for flag in read_transform(transform).flags for word in ("--accept-flag", flag)]
    accepted = hilum(addresses, "fuse", *pair, "--transform", transform, "--out", fused, *flags)
    assert accepted.returncode == 0, accepted.stderr
    assert fused.exists()


def save_volume(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    make: Any = nibabel.Nifti1Image  # nibabel is typed in parts only
    nibabel.save(make(voxels.transpose(2, 1, 0), affine), path)


def test_volumes_are_registered(addresses: dict[str, str], tmp_path: Path) -> None:
    """Two NIfTI files: the transform has three formats, the moving volume the fixed grid, the picture three planes."""
    affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
    paths = tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"
    for path, voxels in zip(paths, (FIXED, np.roll(FIXED, (2, -1, 3), (0, 1, 2))), strict=True):
        save_volume(path, voxels, affine)
    names = [tmp_path / name for name in ("t.json", "t.tfm", "t.nii.gz", "planes.png")]
    outputs = [argument for name in names for argument in ("--out", name)]
    options = "--transform-model", "rigid", "--fixed-modality", "CT", "--moving-modality", "CT"
    on_grid = tmp_path / "resampled.nii.gz"
    accepted = [argument for flag in sorted(FLAGS) for argument in ("--accept-flag", flag)]
    run = hilum(addresses, "register", *paths, *options, *outputs, "--resampled", on_grid, *accepted)
    assert run.returncode == 0, run.stderr
    assert "the moving volume covers" in run.stdout
    transform = read_transform(names[0])
    assert np.reshape(transform.warp.matrix, (4, 4))[:3, 3] == pytest.approx([3, -1, 2], abs=0.5)
    grids = transform.fixed_grid, transform.moving_grid
    middle = [[len(FIXED) / 2] * 3]
    for other in (read_itk_transform(names[1], *grids), read_nifti_transform(names[2], *grids)):
        np.testing.assert_allclose(other.apply(middle), transform.apply(middle), atol=1e-3)
    resampled = read_volume(on_grid)
    fixed = read_volume(paths[0])
    assert resampled.geometry == fixed.geometry
    inner = (slice(5, -5),) * 3
    assert np.corrcoef(resampled.voxels[inner].ravel(), fixed.voxels[inner].ravel())[0, 1] > 0.95
    with PIL.Image.open(names[3]) as picture:
        assert picture.width > 3 * 300


def test_options_of_images_are_refused_for_volumes(addresses: dict[str, str], tmp_path: Path) -> None:
    """A landmark in pixels says nothing about volumes: a usage error names the option, before anything is sent."""
    path = tmp_path / "volume.nii.gz"
    save_volume(path, FIXED, np.eye(4))
    run = hilum(addresses, "register", path, path, "--landmark", "1,2,3,4", "--out", tmp_path / "t.json")
    assert run.returncode == 2
    assert "--landmark" in run.stderr
