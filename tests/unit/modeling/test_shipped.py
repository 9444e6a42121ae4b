"""modeling.shipped: decoders in the repository, written, read, and refused where damaged."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.errors import BundleError
from hilum.serving.calibration import ScoreCalibration
from modeling.lora import add_lora, merge_lora
from modeling.shipped import calibrated, read_shipped, ship
from tests.unit.modeling.tiny_task import tiny_sam

CURVE = ScoreCalibration((0.2, 0.9), (0.1, 0.8), abstain_below=0.5, patients=3, answers=40)


def test_a_shipped_decoder_comes_back_in_half_precision(tmp_path: Path) -> None:
    """Only prompt encoder and mask decoder are written, rounded to float16, with calibration and lineage."""
    model = tiny_sam()
    ship("tiny", model, tiny_sam(), lineage={"base": "nothing"}, calibration={"CT": CURVE}, folder=tmp_path)
    shipped = read_shipped("tiny", tmp_path)
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("image_encoder.")}
    assert shipped.weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(shipped.weights[name], tensor.half().float(), rtol=0, atol=0)
    assert shipped.calibration == {"CT": CURVE}
    assert shipped.lineage == {"base": "nothing"}


def test_lora_in_the_encoder_is_shipped_as_its_factors(tmp_path: Path) -> None:
    """The matrices come back within half precision of LoRA's addition; what was not adapted stays as it is."""
    base, model = tiny_sam(), tiny_sam()
    encoder: Any = model.image_encoder
    add_lora(encoder, 2, 2.0)
    torch.nn.init.normal_(encoder.qkv.up, generator=torch.Generator().manual_seed(0))
    merge_lora(model)
    ship("tiny", model, base, lineage={}, calibration={}, folder=tmp_path)
    found = read_shipped("tiny", tmp_path).applied_to(base.state_dict())
    wanted, before = model.state_dict(), base.state_dict()
    torch.testing.assert_close(found["image_encoder.qkv.weight"], wanted["image_encoder.qkv.weight"], rtol=0, atol=3e-3)
    assert not torch.allclose(found["image_encoder.qkv.weight"], before["image_encoder.qkv.weight"], atol=0.1)
    torch.testing.assert_close(found["image_encoder.qkv.bias"], before["image_encoder.qkv.bias"], rtol=0, atol=0)


def test_an_encoder_changed_otherwise_is_not_shipped(tmp_path: Path) -> None:
    """A change of full rank, or of a vector, is refused with the weight's name."""
    for name, change in (("qkv.weight", torch.eye(32, 48)), ("qkv.bias", torch.ones(32))):
        model = tiny_sam()
        with torch.no_grad():
            model.get_parameter(f"image_encoder.{name}").add_(change)
        with pytest.raises(BundleError, match=rf"image_encoder\.{name}"):
            ship("tiny", model, tiny_sam(), lineage={}, calibration={}, folder=tmp_path)


def test_additions_to_another_base_are_refused(tmp_path: Path) -> None:
    """Factors of a matrix that the base does not have are an error with its name."""
    model, base = tiny_sam(), tiny_sam()
    with torch.no_grad():
        model.get_parameter("image_encoder.qkv.weight")[0].add_(1)
    ship("tiny", model, base, lineage={}, calibration={}, folder=tmp_path)
    weights = {name: tensor for name, tensor in base.state_dict().items() if name != "image_encoder.qkv.weight"}
    with pytest.raises(BundleError, match=r"no matrix image_encoder\.qkv\.weight"):
        read_shipped("tiny", tmp_path).applied_to(weights)


def test_a_calibration_is_replaced_without_touching_the_weights(tmp_path: Path) -> None:
    """Calibrating afterwards changes the facts beside the weights and nothing else."""
    tensors, _ = ship("tiny", tiny_sam(), tiny_sam(), lineage={"base": "nothing"}, calibration={}, folder=tmp_path)
    before = tensors.read_bytes()
    calibrated("tiny", {"MR": CURVE}, tmp_path)
    shipped = read_shipped("tiny", tmp_path)
    assert (shipped.calibration, shipped.lineage) == ({"MR": CURVE}, {"base": "nothing"})
    assert tensors.read_bytes() == before


@pytest.mark.parametrize("damaged", ["tiny.safetensors", "tiny.json"])
def test_damaged_files_are_refused_by_name(tmp_path: Path, damaged: str) -> None:
    """A truncated file is a BundleError, not a traceback of some library's."""
    ship("tiny", tiny_sam(), tiny_sam(), lineage={}, calibration={}, folder=tmp_path)
    (tmp_path / damaged).write_bytes((tmp_path / damaged).read_bytes()[:20])
    with pytest.raises(BundleError, match=r"tiny\.safetensors are missing or damaged"):
        read_shipped("tiny", tmp_path)
