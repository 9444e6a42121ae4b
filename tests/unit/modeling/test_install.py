"""modeling.install and its command: what is installed, what is refused, and what is left."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from hilum.errors import BundleError
from hilum.serving.bundle import MANIFEST_FILENAME, Bundle, file_sha256
from modeling.__main__ import app
from modeling.catalogue import CATALOGUE
from modeling.install import install, installed


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of bundles."""
    monkeypatch.setenv("HILUM_BUNDLES", str(tmp_path / "bundles"))
    return tmp_path / "bundles"


def _command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "modeling", *arguments], capture_output=True, text=True, check=False)


def test_a_second_installation_checks_digests_without_torch(lite_medsam_bundle: Bundle) -> None:
    """Installing what is installed says so, and imports no torch: it is over in the time of one digest."""
    code = (
        "import sys; from modeling.__main__ import app\n"
        "app(['install', 'lite-medsam'], standalone_mode=False)\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"already installed in {lite_medsam_bundle.folder}" in result.stdout


def test_an_altered_bundle_is_not_taken_for_installed(bundles: Path, lite_medsam_bundle: Bundle) -> None:
    """A bundle with a changed file is refused with what to do."""
    folder = bundles / "lite-medsam"
    folder.mkdir(parents=True)
    for path in lite_medsam_bundle.folder.iterdir():
        (folder / path.name).symlink_to(path)
    assert installed("lite-medsam") is not None
    (folder / "mask_decoder.onnx").unlink()
    (folder / "mask_decoder.onnx").write_bytes(b"altered")
    with pytest.raises(BundleError, match="--force"):
        installed("lite-medsam")


def test_a_bundle_of_another_format_is_written_anew(bundles: Path) -> None:
    """A bundle that an older version left does not stop an installation: it counts as not installed."""
    folder = bundles / "lite-medsam"
    folder.mkdir(parents=True)
    (folder / MANIFEST_FILENAME).write_text('{"format_version": 1}')
    assert installed("lite-medsam") is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["install", "sam-vit-x"], "unknown model 'sam-vit-x'; known are lite-medsam"),
        (["install", "sam-vit-b"], "sam-vit-b needs --checkpoint FILE"),
        (["install", "lite-medsam", "--checkpoint", "weights.pth"], "lite-medsam takes no --checkpoint"),
        (["install", "sam-vit-b", "--checkpoint", "absent.pth"], "absent.pth does not exist"),
    ],
)
def test_a_refused_installation_is_one_line_and_exit_code_2(bundles: Path, arguments: list[str], reason: str) -> None:
    """What cannot be installed is said in one line, and nothing is left."""
    result = _command(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {reason}") or reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert not bundles.exists()


def test_a_checkpoint_that_is_not_the_official_one_is_refused(bundles: Path, tmp_path: Path) -> None:
    """A tampered official checkpoint is known by its digest."""
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(BundleError, match=f"expected {CATALOGUE['sam-vit-b'].checkpoint_sha256}"):
        install("sam-vit-b", path)
    assert not bundles.exists()


def test_a_checkpoint_of_another_architecture_leaves_nothing(bundles: Path, tmp_path: Path) -> None:
    """A checkpoint that the user vouches for is still compared with the architecture."""
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(BundleError, match="not the weights of sam-vit-b"):
        install("sam-vit-b", path, file_sha256(path))
    assert not bundles.exists()


def test_the_list_says_what_is_installed(bundles: Path, lite_medsam_bundle: Bundle) -> None:
    """Every model of the catalogue is listed, with whether it is installed."""
    bundles.mkdir()
    (bundles / "lite-medsam").symlink_to(lite_medsam_bundle.folder)
    result = CliRunner().invoke(app, ["list"], catch_exceptions=False)
    lines = {line.split()[1]: line for line in result.output.splitlines() if line.startswith("│")}
    assert set(CATALOGUE) <= set(lines)
    assert "yes" in lines["lite-medsam"]
    assert "no" in lines["sam-vit-b"]
