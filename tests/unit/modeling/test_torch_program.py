"""The image encoder exported for torch."""

import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from modeling.segment_anything_modules import ImageEncoderViT
from modeling.torch_program import write_torch_program


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    """A small SAM encoder with window and global attention, randomly initialised."""
    torch.manual_seed(0)
    module: nn.Module = ImageEncoderViT(
        img_size=64,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=8,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    )
    return module.eval()


@pytest.fixture(scope="module")
def program(encoder: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "image_encoder.pt2"
    write_torch_program(SimpleNamespace(image_encoder=encoder), 64, path, max_batch_size=8)
    return path


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_the_program_computes_what_the_module_does(encoder: nn.Module, program: Path, batch: int) -> None:
    """For every batch size up to the largest, the program read back gives the module's embeddings."""
    images = torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch))
    with torch.inference_mode():
        torch.testing.assert_close(torch.export.load(program).module()(images), encoder(images))


def test_nothing_of_the_program_stays_behind_when_it_moves(program: Path) -> None:
    """Moved to another device, the program computes there alone: no constant of it stays on the CPU."""
    moved = move_to_device_pass(torch.export.load(program), "meta").module()
    with torch.inference_mode():
        embedding = moved(torch.empty(2, 3, 64, 64, device="meta"))
    assert embedding.shape == (2, 8, 4, 4)
    assert embedding.device.type == "meta"


def test_the_program_holds_no_pickles(program: Path) -> None:
    """Nothing in the file is a pickle, so that reading it runs no code out of it."""
    with zipfile.ZipFile(program) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    assert contents
    # A pickle of protocol 2 or later begins so, and torch.save wraps it in an archive.
    assert not any(content.startswith((b"\x80\x02", b"\x80\x04", b"PK")) for content in contents)
