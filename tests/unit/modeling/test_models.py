"""modeling.models: checkpoints that are read, and those that are refused."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.serving.bundle import Bundle, file_sha256
from modeling.models import CheckpointError, build_model, lite_medsam_checkpoint, load_model, read_checkpoint
from tests.congruence.oracle import lite_medsam


class RunsWhenUnpickled:
    """An object whose unpickling would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def _saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def test_a_checkpoint_of_tensors_is_read(tmp_path: Path) -> None:
    """A state dict comes back by name, when its digest is the expected one."""
    path = _saved(tmp_path / "weights.pth", {"a": torch.arange(3.0)})
    weights = read_checkpoint(path, file_sha256(path).upper())
    torch.testing.assert_close(weights["a"], torch.arange(3.0))


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    """A path without a file is named in the error."""
    with pytest.raises(CheckpointError, match=r"absent\.pth does not exist"):
        read_checkpoint(tmp_path / "absent.pth", None)


def test_a_checkpoint_with_another_digest_is_refused(tmp_path: Path) -> None:
    """One changed byte is enough for a file whose digest is known."""
    path = _saved(tmp_path / "weights.pth", {"a": torch.zeros(3)})
    digest = file_sha256(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"expected {digest}"):
        read_checkpoint(path, digest)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, kept: float) -> None:
    """However much is missing from the end, the error says that the file is damaged."""
    path = _saved(tmp_path / "weights.pth", {"a": torch.zeros(1000)})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path, None)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """A pickle that would call a function is refused, and the function is not called."""
    path = _saved(tmp_path / "weights.pth", {"a": RunsWhenUnpickled(tmp_path / "was_run")})
    with pytest.raises(CheckpointError, match="was not loaded"):
        read_checkpoint(path, None)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    "value", [torch.zeros(3), [torch.zeros(3)], {"model": {"a": torch.zeros(3)}}, {1: torch.zeros(3)}]
)
def test_what_is_not_tensors_by_name_is_refused(tmp_path: Path, value: object) -> None:
    """A file that holds something else than a state dict is refused."""
    with pytest.raises(CheckpointError, match="not a state dict"):
        read_checkpoint(_saved(tmp_path / "weights.pth", value), None)


def test_weights_of_another_architecture_are_refused() -> None:
    """LiteMedSAM's weights do not become a SAM ViT-B: the error names a tensor that differs."""
    weights = read_checkpoint(lite_medsam_checkpoint(), None)
    with pytest.raises(CheckpointError, match=r"not the weights of sam-vit-b: \d+ of \d+ tensors differ, first"):
        build_model("sam-vit-b", weights)


def test_an_unknown_architecture_is_refused() -> None:
    """The error lists the architectures there are."""
    with pytest.raises(CheckpointError, match="known are lite-medsam, sam-vit-b"):
        build_model("sam-vit-x", {})


def test_a_bundles_model_is_the_model_it_was_written_from(lite_medsam_bundle: Bundle) -> None:
    """The torch model loaded from an installed bundle answers as the checkpoint's does."""
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    loaded: Any = load_model(lite_medsam_bundle)
    original: Any = lite_medsam()
    with torch.inference_mode():
        torch.testing.assert_close(loaded.image_encoder(image), original.image_encoder(image), rtol=0, atol=0)
