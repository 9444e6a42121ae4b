"""Triton model repositories as they are written."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from hilum.errors import BundleError
from hilum.serving.bundle import Bundle
from modeling.__main__ import app
from modeling.model_repository import (
    ON_CPU,
    ON_GPU,
    Execution,
    generate_model_repository,
    identity,
    model_config,
)
from tests.integration.processes import ROOT
from tests.integration.tritonserver import small_bundle


@pytest.fixture(scope="module")
def bundle(lite_medsam_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(lite_medsam_bundle, tmp_path_factory.mktemp("bundles") / "small")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repository_holds_all_that_triton_needs(bundle: Bundle, tmp_path: Path) -> None:
    """Configuration, model and graph lie in the repository as files of its own."""
    repository = generate_model_repository(bundle, tmp_path)
    written = files(repository)
    config = text_format.Parse(written.pop("small/config.pbtxt"), model_config_pb2.ModelConfig())
    assert config == model_config(bundle, ON_CPU)
    assert written == {
        "small/1/model.py": (ROOT / "modeling/triton_model.py").read_bytes(),
        "small/1/image_encoder.onnx": bundle.graph("image_encoder").read_bytes(),
    }
    assert not any(path.is_symlink() for path in repository.rglob("*"))


def test_weights_beside_the_graph_come_along(bundle: Bundle, tmp_path: Path) -> None:
    """A graph whose weights lie in a file of their own is copied with that file."""
    folder = tmp_path / "large"
    folder.mkdir()
    for name in ("image_encoder.onnx", "image_encoder.onnx.data", "mask_decoder.onnx"):
        (folder / name).write_text(name)
    manifest = dataclasses.replace(bundle.manifest, files={path.name: "" for path in folder.iterdir()})
    repository = generate_model_repository(Bundle(folder, manifest), tmp_path / "repositories")
    assert {name.rpartition("/")[2] for name in files(repository)} == {
        "config.pbtxt",
        "model.py",
        "image_encoder.onnx",
        "image_encoder.onnx.data",
    }


def test_what_is_in_a_repository_decides_its_name(bundle: Bundle, tmp_path: Path) -> None:
    """The same bundle and settings find the repository written; other settings or weights get another."""
    repository = generate_model_repository(bundle, tmp_path)
    written_at = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    other_weights = dataclasses.replace(bundle.manifest, encoder_revision="0" * 64)
    other_graph = dataclasses.replace(bundle.manifest, files={"image_encoder.onnx": "0" * 64})
    assert generate_model_repository(bundle, tmp_path) == repository
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == written_at
    others = {
        generate_model_repository(bundle, tmp_path, Execution(instances=2)),
        generate_model_repository(Bundle(bundle.folder, other_weights), tmp_path),
        generate_model_repository(Bundle(bundle.folder, other_graph), tmp_path),
    }
    assert len(others | {repository}) == 4
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in others | {repository}}


def test_a_failure_leaves_nothing(bundle: Bundle, tmp_path: Path) -> None:
    """When a file cannot be copied, neither a repository nor a part of one stays behind."""
    manifest = dataclasses.replace(
        bundle.manifest, files={**bundle.manifest.files, "image_encoder.onnx.data": "0" * 64}
    )
    with pytest.raises(FileNotFoundError):
        generate_model_repository(Bundle(bundle.folder, manifest), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_identity_covers_weights_and_precision() -> None:
    """Two models have one identity only when their weights and their precision are the same."""
    identities = {identity(revision, precision) for revision in ("a", "b") for precision in ("float32", "bfloat16")}
    assert len(identities) == 4
    assert identity("a", "float32") in identities


def test_the_configuration_follows_the_settings(bundle: Bundle) -> None:
    """Instances, kind, batching and queue reach Triton's configuration."""
    settings: dict[str, Any] = {"instances": 3, "max_batch_size": 16, "max_queue_delay_us": 123, "max_queue_size": 7}
    config = model_config(bundle, dataclasses.replace(ON_GPU, compute_precision="bfloat16", **settings))
    (group,) = config.instance_group
    batching = config.dynamic_batching
    assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == "KIND_GPU"
    assert settings == {
        "instances": group.count,
        "max_batch_size": config.max_batch_size,
        "max_queue_delay_us": batching.max_queue_delay_microseconds,
        "max_queue_size": batching.default_queue_policy.max_queue_size,
    }
    assert config.parameters["compute_precision"].string_value == "bfloat16"


@pytest.mark.parametrize(
    "settings",
    [
        {"instances": 0},
        {"max_batch_size": 0},
        {"max_queue_size": 0},
        {"max_queue_delay_us": -1},
        {"intra_op_threads": -1},
        {"kind": "KIND_GPU"},
        {"compute_precision": "bfloat16"},
    ],
)
def test_settings_that_no_server_could_run_are_refused(settings: dict[str, Any]) -> None:
    """Numbers out of range, and ONNX Runtime asked for a GPU or for bfloat16, are errors at once."""
    with pytest.raises(BundleError):
        Execution(**settings)


def test_the_command_prints_the_folder_alone(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m modeling triton` writes the repository and prints its folder, ready for a script to pass on."""
    monkeypatch.setenv("HILUM_BUNDLES", str(bundle.folder.parent))
    done = CliRunner().invoke(app, ["triton", "small", "--target", str(tmp_path), "--instances", "2"])
    assert done.exit_code == 0
    assert done.stdout.strip() == str(generate_model_repository(bundle, tmp_path, Execution(instances=2)))
