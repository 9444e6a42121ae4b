"""modeling.shipped: decoders in the repository, written, read, and refused where damaged."""

from pathlib import Path

import pytest
import torch

from hilum.errors import BundleError
from hilum.serving.calibration import ScoreCalibration
from modeling.shipped import calibrated, read_shipped, ship
from tests.unit.modeling.tiny_task import tiny_sam

CURVE = ScoreCalibration((0.2, 0.9), (0.1, 0.8), abstain_below=0.5, patients=3, answers=40)


def test_a_shipped_decoder_comes_back_in_half_precision(tmp_path: Path) -> None:
    """Only prompt encoder and mask decoder are written, rounded to float16, with calibration and lineage."""
    model = tiny_sam()
    ship("tiny", model, lineage={"base": "nothing"}, calibration={"CT": CURVE}, folder=tmp_path)
    shipped = read_shipped("tiny", tmp_path)
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("image_encoder.")}
    assert shipped.weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(shipped.weights[name], tensor.half().float(), rtol=0, atol=0)
    assert shipped.calibration == {"CT": CURVE}
    assert shipped.lineage == {"base": "nothing"}


def test_a_calibration_is_replaced_without_touching_the_weights(tmp_path: Path) -> None:
    """Calibrating afterwards changes the facts beside the weights and nothing else."""
    tensors, _ = ship("tiny", tiny_sam(), lineage={"base": "nothing"}, calibration={}, folder=tmp_path)
    before = tensors.read_bytes()
    calibrated("tiny", {"MR": CURVE}, tmp_path)
    shipped = read_shipped("tiny", tmp_path)
    assert (shipped.calibration, shipped.lineage) == ({"MR": CURVE}, {"base": "nothing"})
    assert tensors.read_bytes() == before


@pytest.mark.parametrize("damaged", ["tiny.safetensors", "tiny.json"])
def test_damaged_files_are_refused_by_name(tmp_path: Path, damaged: str) -> None:
    """A truncated file is a BundleError, not a traceback of some library's."""
    ship("tiny", tiny_sam(), lineage={}, calibration={}, folder=tmp_path)
    (tmp_path / damaged).write_bytes((tmp_path / damaged).read_bytes()[:20])
    with pytest.raises(BundleError, match=r"tiny\.safetensors are missing or damaged"):
        read_shipped("tiny", tmp_path)
