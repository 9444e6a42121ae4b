"""modeling.evaluation.command and detections: what is evaluated, and what is refused in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hilum.serving.bundle import Bundle
from hilum.types import Box
from modeling.evaluation.command import DEFAULT_GROUPS, EvaluationError, Request, run
from modeling.evaluation.detections import DetectionsError, read_detections
from modeling.sample import CollectionError, Sample, write_collection


@pytest.fixture
def request_for(tmp_path: Path) -> Request:
    return Request(
        (),
        tmp_path / "data",
        "test",
        (),
        "",
        False,
        False,
        None,
        DEFAULT_GROUPS,
        0,
        tmp_path / "out",
        tmp_path / "bench.json",
    )


def test_what_cannot_be_evaluated_is_said(request_for: Request, sample: Sample) -> None:
    """No collection, an unknown protocol, an empty split and no model are each refused with what is wrong."""
    with pytest.raises(CollectionError, match="does not exist"):
        run(request_for, Console())
    write_collection(request_for.data, [sample])
    with pytest.raises(EvaluationError, match="no protocols boxes; there are box"):
        run(replace(request_for, groups=("boxes",)), Console())
    with pytest.raises(EvaluationError, match="no samples with split 'validation'"):
        run(replace(request_for, split="validation"), Console())
    with pytest.raises(EvaluationError, match="no source drawing with split 'test'; there are: drawings"):
        run(replace(request_for, sources=("drawing",)), Console())
    with pytest.raises(EvaluationError, match="name a bundle"):
        run(request_for, Console())


def test_some_sources_have_figures_of_their_own(
    request_for: Request, sample: Sample, lite_medsam_bundle: Bundle
) -> None:
    """A run on one source evaluates no other, and leaves the figures of the run on all sources as they are."""
    write_collection(request_for.data, [sample, replace(sample, name="other", source="sketches")])
    request = replace(request_for, bundles=[str(lite_medsam_bundle.folder)], groups=("box",))
    run(request, Console(quiet=True))
    whole = json.loads(request.figures.read_text())
    assert "accuracy_box_dice_lite_medsam" in whole
    run(replace(request, sources=("sketches",)), Console(quiet=True))
    outcomes = json.loads((request.out / "report.json").read_text())["outcomes"]
    assert {it["source"] for it in outcomes} == {"sketches"}
    both = json.loads(request.figures.read_text())
    assert {name: both[name] for name in whole} == whole
    added = set(both) - set(whole)
    assert all(name.startswith("accuracy_sketches_") for name in added)
    assert "accuracy_sketches_box_jittered_missed_lite_medsam" in added


def test_everything_mode_is_asked_for_by_name() -> None:
    """It asks 256 clicks a target, and is no default."""
    assert "everything" not in DEFAULT_GROUPS


def test_detected_boxes_are_read(tmp_path: Path) -> None:
    """A file of boxes by sample is read as boxes."""
    path = tmp_path / "boxes.json"
    path.write_text('{"a": [[1, 2, 3.5, 4]], "b": []}')
    assert read_detections(path) == {"a": [Box(1, 2, 3.5, 4)], "b": []}


@pytest.mark.parametrize("text", ["", "[]", '{"a": [[1, 2, 3]]}', '{"a": [[5, 2, 3, 4]]}', '{"a": [[1, 2, NaN, 4]]}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    """What is no JSON of boxes with edges in order is an error that names the file."""
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(DetectionsError, match=r"boxes\.json"):
        read_detections(path)
