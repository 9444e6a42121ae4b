"""hilum.serving.bundle: what a manifest says, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import BundleError
from hilum.serving.bundle import (
    FORMAT_VERSION,
    MANIFEST_FILENAME,
    Bundle,
    Manifest,
    Normalisation,
    PromptKinds,
    bundles_folder,
    file_sha256,
    find_bundle,
)
from hilum.serving.calibration import ScoreCalibration

CALIBRATION = ScoreCalibration((0.2, 0.9), (0.1, 0.8), abstain_below=0.6, patients=12, answers=340)
MANIFEST = Manifest(
    format_version=FORMAT_VERSION,
    name="example",
    architecture="sam-vit-b",
    encoder_revision="a" * 64,
    decoder_revision="b" * 64,
    image_size=1024,
    normalisation=Normalisation("mean_std", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    resize="longest_side_pad_right_bottom",
    embedding_shape=(256, 64, 64),
    low_res_mask_size=256,
    mask_threshold=0.0,
    prompts=PromptKinds(points=True, box=True, mask_input=True),
    licence="Apache-2.0",
    source="nowhere",
    created_with={"torch": "2"},
    files={},
    graphs={"image_encoder": "image_encoder.onnx"},
    weights="weights.safetensors",
)


def _written(folder: Path, manifest: Manifest, **contents: bytes) -> Path:
    """A bundle folder with these files, by stem of an .onnx file, all named in the manifest."""
    folder.mkdir()
    for stem, content in contents.items():
        (folder / f"{stem}.onnx").write_bytes(content)
    files = {path.name: file_sha256(path) for path in folder.iterdir()}
    (folder / MANIFEST_FILENAME).write_text(replace(manifest, files=files).to_json())
    return folder


@given(
    image_size=st.integers(16, 4096),
    kinds=st.builds(PromptKinds, points=st.booleans(), box=st.booleans(), mask_input=st.booleans()),
    normalisation=st.one_of(
        st.just(Normalisation("min_max")),
        st.builds(
            Normalisation,
            st.just("mean_std"),
            st.tuples(*3 * [st.floats(0, 255)]),
            st.tuples(*3 * [st.floats(0.1, 255)]),
        ),
    ),
    source=st.text(),
)
def test_a_manifest_survives_its_json(
    image_size: int, kinds: PromptKinds, normalisation: Normalisation, source: str
) -> None:
    """Every manifest reads back from its JSON as it was."""
    manifest = replace(MANIFEST, image_size=image_size, prompts=kinds, normalisation=normalisation, source=source)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"format_version": 2}', '{"format_version": 2, "name": 3}']
)
def test_an_unreadable_manifest_is_refused(text: str) -> None:
    """What is not a manifest raises BundleError, whatever is wrong with it."""
    with pytest.raises(BundleError):
        Manifest.from_json(text)


@pytest.mark.parametrize("field", sorted(vars(MANIFEST).keys() - {"format_version", "calibration", "lineage"}))
def test_a_manifest_without_a_field_is_refused(field: str) -> None:
    """A missing field raises BundleError."""
    plain = json.loads(MANIFEST.to_json())
    del plain[field]
    with pytest.raises(BundleError, match="install the bundle again"):
        Manifest.from_json(json.dumps(plain))


def test_a_manifest_of_another_format_is_refused_by_number() -> None:
    """A bundle of a later format says which format it has."""
    plain = json.loads(MANIFEST.to_json()) | {"format_version": FORMAT_VERSION + 1, "new": True}
    with pytest.raises(BundleError, match=f"format version {FORMAT_VERSION + 1}"):
        Manifest.from_json(json.dumps(plain))


def test_calibration_and_lineage_survive_the_json() -> None:
    """What fine-tuning and calibration write into a manifest is read back, numbers and all."""
    lineage = {"base_revision": "c" * 64, "recipe": {"steps": 1600, "loss": "20 focal + dice"}, "data": ["d" * 64]}
    manifest = replace(MANIFEST, calibration={"CT": CALIBRATION, "MR": CALIBRATION}, lineage=lineage)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_manifest_without_calibration_and_lineage_has_none() -> None:
    """Bundles written before there were calibrations are read as not calibrated and without lineage."""
    plain = json.loads(MANIFEST.to_json())
    del plain["calibration"], plain["lineage"]
    assert Manifest.from_json(json.dumps(plain)) == MANIFEST
    assert (MANIFEST.calibration, MANIFEST.lineage) == ({}, {})


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("CT", {"scores": [0.9, 0.2]}, "scores must increase"),
        ("CT", {"expected_iou": [0.8, 0.1]}, "must not decrease"),
        ("CT", {"expected_iou": [0.1]}, "must be as many"),
        ("CT", {"scores": [], "expected_iou": []}, "at least one"),
        ("CT", {"expected_iou": [0.1, 1.1]}, r"must lie in \[0, 1\]"),
        ("CT", {"abstain_below": -0.1}, r"must lie in \[0, 1\]"),
        ("CT", {"abstain_below": float("nan")}, "must be finite"),
        ("CT", {"patients": 0}, "there must be patients"),
        ("CT", {"answers": 3}, "there must be patients"),
        ("CT", {"scores": 3}, "is not readable"),
        ("CT", {"scores": ["high", "low"]}, "is not readable"),
        ("CT", {"more": 3}, "is not readable"),
        ("ct", {}, "'ct' is no DICOM modality"),
    ],
)
def test_a_calibration_that_is_none_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    """A curve that falls, leaves [0, 1], lacks values, or belongs to no modality raises BundleError that says so."""
    plain = json.loads(replace(MANIFEST, calibration={"CT": CALIBRATION}).to_json())
    plain["calibration"] = {name: plain["calibration"]["CT"] | changes}
    with pytest.raises(BundleError, match=words):
        Manifest.from_json(json.dumps(plain))


def test_expected_iou_is_linear_between_knots_and_constant_outside() -> None:
    """A score on a knot has the knot's value, one between two its share, one outside the nearest."""
    assert [CALIBRATION.at(score) for score in (0.2, 0.9)] == pytest.approx([0.1, 0.8])
    assert CALIBRATION.at(0.55) == pytest.approx(0.45)
    assert [CALIBRATION.at(score) for score in (-5, 5)] == [0.1, 0.8]


def test_a_bundle_gives_its_graphs_and_weights_by_role(tmp_path: Path) -> None:
    """Paths of graphs come from the manifest, an unknown role is refused."""
    bundle = Bundle.load(_written(tmp_path / "example", MANIFEST, image_encoder=b"graph"))
    assert bundle.graph("image_encoder") == tmp_path / "example" / "image_encoder.onnx"
    assert bundle.weights == tmp_path / "example" / "weights.safetensors"
    with pytest.raises(BundleError, match="no graph 'mask_decoder'"):
        bundle.graph("mask_decoder")


def test_an_altered_file_is_refused_unless_verification_is_off(tmp_path: Path) -> None:
    """One changed byte in a graph raises BundleError with what to do."""
    folder = _written(tmp_path / "example", MANIFEST, image_encoder=b"graph")
    (folder / "image_encoder.onnx").write_bytes(b"grapH")
    with pytest.raises(BundleError, match="altered; run `python -m modeling install example --force`"):
        Bundle.load(folder)
    assert Bundle.load(folder, verify=False).manifest.name == "example"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that the manifest names and the folder lacks raises BundleError."""
    folder = _written(tmp_path / "example", MANIFEST, image_encoder=b"graph")
    (folder / "image_encoder.onnx").unlink()
    with pytest.raises(BundleError, match="is missing"):
        Bundle.load(folder)


def test_a_bundle_is_found_by_name_in_the_configured_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HILUM_BUNDLES names the folder of bundles; one that is not there is refused with how to install it."""
    monkeypatch.setenv("HILUM_BUNDLES", str(tmp_path))
    _written(tmp_path / "example", MANIFEST, image_encoder=b"graph")
    assert find_bundle("example").folder == tmp_path / "example"
    with pytest.raises(BundleError, match="python -m modeling install other"):
        find_bundle("other")


def test_bundles_lie_in_the_users_cache_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HILUM_BUNDLES, bundles lie in hilum/bundles of the user's cache folder."""
    monkeypatch.delenv("HILUM_BUNDLES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert bundles_folder().parts[-2:] == ("hilum", "bundles")
