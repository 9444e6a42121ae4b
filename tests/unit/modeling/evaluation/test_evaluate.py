"""modeling.evaluation.evaluate, outcome and report: from samples to figures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.serving.bundle import PromptKinds
from hilum.types import Box
from modeling.evaluation import outcome
from modeling.evaluation.evaluate import WORST_KEPT, Findings, evaluate, median_side
from modeling.evaluation.outcome import Outcome, chosen
from modeling.evaluation.report import Setting, add_figures, all_tables, figures, markdown, write_report
from modeling.sample import Sample, mask_target
from tests.unit.modeling.evaluation.conftest import BoxFiller

GROUPS = ("box", "click", "clicks", "baselines")
SETTING = Setting("drawings", "test", 24.0, "evaluated split")


@pytest.fixture(scope="module")
def samples(sample: Sample) -> list[Sample]:
    """The drawn sample of four patients, one of them in another source."""
    names = (("a", "drawings"), ("b", "drawings"), ("c", "drawings"), ("d", "sketches"))
    return [replace(sample, name=name, patient=name, source=source) for name, source in names]


@pytest.fixture(scope="module")
def findings(samples: list[Sample]) -> Findings:
    return evaluate([BoxFiller(), BoxFiller(name="other")], samples, GROUPS, 24.0)


def test_every_model_target_and_protocol_is_measured(findings: Findings) -> None:
    """Both models answer the same protocols on both targets of all images, with as many repetitions."""
    keys = [(it.protocol, it.source, it.sample, it.target) for it in chosen(findings.outcomes, model="box-filler")]
    assert keys == [(it.protocol, it.source, it.sample, it.target) for it in chosen(findings.outcomes, model="other")]
    assert findings.images == 4
    assert {key[3] for key in keys} == {0, 1}


def test_the_filled_box_of_a_disc_has_a_known_dice(findings: Findings) -> None:
    """A filled tight box has IoU pi / 4 with its disc; the filler's answer to the box is the same mask."""
    for protocol in ("filled box", "box"):
        mean = outcome.macro_mean(chosen(findings.outcomes, protocol=protocol, model="box-filler"), "iou")
        assert mean.value == pytest.approx(math.pi / 4, abs=0.03)
        assert mean.patients == 4


def test_equal_models_do_not_differ(findings: Findings) -> None:
    """The paired difference of two equal models is exactly 0 with an interval of no width."""
    after, before = (chosen(findings.outcomes, model=name, protocol="click") for name in ("other", "box-filler"))
    pairs = outcome.paired(after, before, "dice")
    difference = outcome.macro_mean(pairs, "dice")
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert len(pairs) == 4 * 5


def test_pairs_are_made_by_prompt_not_by_order() -> None:
    """Outcomes in another order, or without a partner, do not spoil a paired comparison."""

    def made(model: str, sample: str, dice: float) -> Outcome:
        return Outcome(model, "click", "s", "CT", f"s/{sample}", sample, 0, "x", False, {"dice": dice})

    after = [made("new", "b", 0.9), made("new", "a", 0.5), made("new", "alone", 0.1)]
    before = [made("old", "a", 0.4), made("old", "b", 0.7)]
    assert [it.values["dice"] for it in outcome.paired(after, before, "dice")] == pytest.approx([0.2, 0.1])


def test_images_weigh_the_same_however_many_targets_they_have() -> None:
    """One image with three targets and one with one: the mean is over images."""
    rows = [("a", 0, 0.9), ("a", 1, 0.9), ("a", 2, 0.9), ("b", 0, 0.1)]
    outcomes = [Outcome("m", "box", "s", "CT", f"s/{n}", n, t, "x", False, {"dice": d}) for n, t, d in rows]
    assert outcome.image_mean(outcomes, "dice").value == pytest.approx(0.5)


def test_small_targets_are_placed_but_not_overlapped(sample: Sample) -> None:
    """A target of nine pixels has a centre error and is found or not, and has no Dice and no place among the worst."""
    tiny = np.zeros(sample.size, np.bool_)
    tiny[10:13, 10:13] = True
    findings = evaluate([BoxFiller()], [replace(sample, targets=(mask_target("dot", tiny),))], ("box", "click"), 24.0)
    assert findings.small == 1
    assert all("dice" not in it.values and "centre_error_mm" in it.values for it in findings.outcomes)
    assert findings.worst == {}


def test_the_worst_cases_are_one_a_target_worst_first(findings: Findings) -> None:
    """Of five clicks on a target the worst is kept, and no more cases than are shown."""
    for cases in findings.worst.values():
        assert len({(it.sample.source, it.sample.name, it.outcome.target) for it in cases}) == len(cases) <= WORST_KEPT
        assert [it.fit for it in cases] == sorted(it.fit for it in cases)


def test_refused_prompts_are_said_to_be_missing(samples: list[Sample]) -> None:
    """Services with a box-only model: clicks are not asked, and the tables say "not available"."""
    served = BoxFiller(refuses=True, kinds=PromptKinds(points=False, box=True, mask_input=False), name="served")
    findings = evaluate([BoxFiller(), served], samples, ("box", "click"), 24.0)
    assert findings.missing == {"box-filler": [], "served": ["click"]}
    text = markdown(SETTING, findings, all_tables(findings))
    assert "with regions: served: click" in text
    assert "| not available |" in text


def test_a_detectors_boxes_are_matched_and_false_ones_counted(samples: list[Sample]) -> None:
    """A box on the disc finds it; one on nothing is false; a stone without a box is missed."""
    boxes = {"a": [Box(29.5, 19.5, 90.5, 80.5), Box(2, 2, 10, 10)]}
    outcomes = evaluate([BoxFiller()], samples[:1], (), 24.0, detections=boxes).outcomes
    assert [(it.target, it.values["found"], it.values["empty"]) for it in outcomes] == [
        (0, 1, 0),
        (1, 0, 1),
        (-1, 0, 0),
    ]


def test_the_report_has_intervals_patients_pictures_and_warnings(samples: list[Sample], tmp_path: Path) -> None:
    """Markdown names patients and intervals, JSON has every outcome, HTML has pictures and says what it is not for."""
    findings = evaluate([BoxFiller()], samples, ("box", "click"), 24.0)
    findings.worst = {key: cases[:1] for key, cases in findings.worst.items()}
    write_report(tmp_path, SETTING, findings)
    text = (tmp_path / "report.md").read_text()
    assert "4 images of 4 patients in 2 sources" in text
    assert "| click | drawings | 0." in text
    content = json.loads((tmp_path / "report.json").read_text())
    assert len(content["outcomes"]) == len(findings.outcomes)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert "Not for diagnosis" in page


def test_figures_join_the_benchmarks_file(findings: Findings, tmp_path: Path) -> None:
    """accuracy_* figures are added flat, to four digits; what stood there stays."""
    path = tmp_path / "build" / "bench.json"
    path.parent.mkdir()
    path.write_text('{"decoder_ms": 12.5, "machine": "a machine"}')
    add_figures(path, figures(findings.outcomes))
    known = json.loads(path.read_text())
    assert (known["decoder_ms"], known["machine"]) == (12.5, "a machine")
    assert known["accuracy_filled_box_dice_box_filler"] == pytest.approx(2 / (1 + 4 / math.pi), abs=0.02)
    assert all(isinstance(value, float) for name, value in known.items() if name.startswith("accuracy_"))


def test_the_median_side_is_over_both_sides_of_all_boxes(samples: list[Sample]) -> None:
    """The disc is 61 px each way, the stone 12 by 10: the median of these is 36.5; nothing gives 32."""
    assert median_side(samples) == pytest.approx((61 + 12) / 2)
    assert median_side([]) == 32
