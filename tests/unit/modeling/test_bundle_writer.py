"""modeling.bundle_writer and modeling.verification: a whole bundle or nothing, and only graphs that agree."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hilum.errors import BundleError
from hilum.serving.bundle import Bundle
from hilum.serving.calibration import ScoreCalibration
from modeling.bundle_writer import STEPS, WrittenBundle, weights_revision, write_bundle
from modeling.verification import TOLERANCE, check
from tests.congruence.oracle import RANDOM_SAM_SPEC, random_sam

SPEC = replace(
    RANDOM_SAM_SPEC,
    calibration={"CT": ScoreCalibration((0.0, 1.0), (0.2, 0.9), abstain_below=0.5, patients=7, answers=70)},
    lineage={"base_revision": "a" * 64, "recipe": {"steps": 10}},
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WrittenBundle:
    """A bundle of the random SAM."""
    return write_bundle(random_sam(), SPEC, tmp_path_factory.mktemp("bundles") / "random-sam")


def test_a_written_bundle_is_complete_and_verifies(written: WrittenBundle) -> None:
    """Every file but the manifest is listed with its digest, and the manifest says what the model is."""
    bundle = Bundle.load(written.bundle.folder)
    assert bundle == written.bundle
    assert {*bundle.manifest.files, "manifest.json"} == {path.name for path in bundle.folder.iterdir()}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in bundle.folder.iterdir())
    assert bundle.manifest.embedding_shape == (256, 16, 16)
    assert bundle.manifest.low_res_mask_size == 64
    assert (bundle.manifest.calibration, bundle.manifest.lineage) == (SPEC.calibration, SPEC.lineage)
    assert set(bundle.manifest.graphs) == {
        "image_encoder",
        "mask_decoder_image",
        "mask_decoder_prompts",
        "mask_decoder",
        "mask_decoder_with_mask",
    }


def test_the_graphs_agree_with_torch(written: WrittenBundle) -> None:
    """The differences reported are below the stated tolerance, and not zero by comparing a thing with itself."""
    assert set(written.differences) == {"image_encoder", "mask_decoder", "mask_decoder_with_mask"}
    assert all(0 < difference <= TOLERANCE for difference in written.differences.values())


@pytest.mark.parametrize("failing", STEPS)
def test_a_failure_leaves_nothing_and_touches_nothing(tmp_path: Path, failing: str) -> None:
    """Whatever step fails, an earlier bundle stays as it was and no other file is left."""
    folder = tmp_path / "random-sam"
    folder.mkdir()
    (folder / "earlier").write_text("bundle")

    def fail(step: str, number: int, steps: int) -> None:
        assert (STEPS[number], len(STEPS)) == (step, steps)
        if step == failing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bundle(random_sam(), RANDOM_SAM_SPEC, folder, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["random-sam"]
    assert [path.name for path in folder.iterdir()] == ["earlier"]


def test_a_new_bundle_replaces_the_one_in_its_place(tmp_path: Path, written: WrittenBundle) -> None:
    """Writing over a folder leaves the new bundle alone in it."""
    folder = tmp_path / "random-sam"
    folder.mkdir()
    (folder / "earlier").write_text("bundle")
    again = write_bundle(random_sam(), RANDOM_SAM_SPEC, folder).bundle
    assert not (folder / "earlier").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["random-sam"]
    assert again.manifest.encoder_revision == written.bundle.manifest.encoder_revision


class Drifting(nn.Module):
    """An encoder whose answer changes after it was exported: a graph that is not its module."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(image)
        return embedding if torch.onnx.is_in_onnx_export() else embedding * 1.001


def test_a_graph_that_differs_from_torch_is_not_installed(tmp_path: Path) -> None:
    """An encoder graph off by a thousandth is refused by name, and nothing is left."""
    model: Any = random_sam()
    model.image_encoder = Drifting(model.image_encoder)
    with pytest.raises(BundleError, match="graph image_encoder differs"):
        write_bundle(model, RANDOM_SAM_SPEC, tmp_path / "random-sam")
    assert not list(tmp_path.iterdir())


def test_a_difference_that_is_not_a_number_is_refused() -> None:
    """NaN is no agreement."""
    with pytest.raises(BundleError, match="mask_decoder"):
        check({"image_encoder": 0.0, "mask_decoder": float("nan")})


def test_revisions_depend_on_their_own_part_only() -> None:
    """Another decoder keeps the encoder's revision, and the other way round; a processing version changes it."""
    weights = {"image_encoder.a": torch.zeros(2), "mask_decoder.b": torch.zeros(2), "prompt_encoder.c": torch.ones(1)}
    decoder = ("prompt_encoder", "mask_decoder")

    def revisions(changed: dict[str, Tensor]) -> tuple[str, str]:
        return weights_revision(changed, ("image_encoder",), "1"), weights_revision(changed, decoder, "1")

    encoder_before, decoder_before = revisions(weights)
    other_decoder = revisions(weights | {"mask_decoder.b": torch.ones(2)})
    assert other_decoder[0] == encoder_before
    assert other_decoder[1] != decoder_before
    other_encoder = revisions(weights | {"image_encoder.a": torch.ones(2)})
    assert other_encoder[0] != encoder_before
    assert other_encoder[1] == decoder_before
    assert weights_revision(weights, ("image_encoder",), "2") != encoder_before


def test_a_revision_does_not_depend_on_order_or_memory_layout() -> None:
    """The same weights have the same revision, however they are held."""
    matrix = torch.arange(6.0).reshape(2, 3)
    one = {"image_encoder.a": matrix, "image_encoder.b": torch.zeros(1)}
    other = {"image_encoder.b": torch.zeros(1), "image_encoder.a": matrix.T.contiguous().T}
    assert weights_revision(one, ("image_encoder",), "1") == weights_revision(other, ("image_encoder",), "1")
    reshaped = one | {"image_encoder.a": matrix.reshape(3, 2)}
    assert weights_revision(reshaped, ("image_encoder",), "1") != weights_revision(one, ("image_encoder",), "1")


def test_the_manifest_names_the_spec(written: WrittenBundle) -> None:
    """What the weights do not say comes from the spec."""
    manifest = written.bundle.manifest
    assert replace(RANDOM_SAM_SPEC, name=manifest.name, source=manifest.source) == RANDOM_SAM_SPEC
    assert (manifest.architecture, manifest.prompts) == (RANDOM_SAM_SPEC.architecture, RANDOM_SAM_SPEC.prompts)
