"""modeling.evaluation.tables: what is read off them, and that it is counted right."""

from dataclasses import replace

import numpy as np
import pytest

from modeling.evaluation.evaluate import evaluate
from modeling.evaluation.outcome import Outcome
from modeling.evaluation.report import figures_by_source
from modeling.evaluation.tables import CONDITIONS, MACRO, conditions, leaving_out, millimetres
from modeling.sample import Sample, mask_target
from tests.unit.modeling.evaluation.conftest import BoxFiller


def _answers(source: str, dice: dict[str, float]) -> list[Outcome]:
    patient = f"{source}/someone"
    return [
        Outcome("mine", name, source, "CT", patient, "image", 0, "liver", False, {"dice": value})
        for name, value in dice.items()
    ]


def _in_order(source: str, *dice: float) -> list[Outcome]:
    """Answers of one source with these Dice: fixed-size box, one click, three, five; and a filled box."""
    return _answers(source, dict(zip(CONDITIONS, dice, strict=True)) | {"filled box": 0.7})


def test_few_clicks_say_what_is_not_in_order() -> None:
    """Where each step is better it says yes; where three clicks are worse than one it says so, in the mean too."""
    table = conditions([*_in_order("good", 0.3, 0.5, 0.6, 0.7), *_in_order("bad", 0.3, 0.9, 0.6, 0.7)])
    rows = {row[0]: row for row in table.rows}
    assert rows["good"] == ("good", "mine", "0.300", "0.500", "0.600", "0.700", "0.700", "yes")
    assert rows["bad"][-1] == "no: 3 clicks not above click"
    assert rows[MACRO][2:6] == ("0.300", "0.700", "0.600", "0.700")
    assert rows[MACRO][-1] == "no: 3 clicks not above click"
    assert "5 clicks not above 3 clicks" in conditions(_in_order("equal", 0.3, 0.5, 0.6, 0.6)).rows[0][-1]
    assert "click not above fixed-size box" in conditions(_in_order("low", 0.6, 0.5, 0.6, 0.7)).rows[0][-1]


def test_few_clicks_need_all_of_them() -> None:
    """Where a model was not asked for some of it, nothing is said."""
    assert conditions(_answers("some", {"click": 0.5, "3 clicks": 0.6})).rows == ()


def test_one_source_is_left_out_at_a_time() -> None:
    """The mean over the others and its change, for one click, the best of three and the jittered box."""
    names = ("click", "click, best of three", "box jittered")
    answers = [
        it
        for source, dice in (("a", 0.2), ("b", 0.4), ("c", 0.9))
        for it in _answers(source, dict.fromkeys(names, dice))
    ]
    rows = {row[0]: row for row in leaving_out(answers).rows}
    assert rows["none"] == ("none", "mine", *["0.500 (+0.000)"] * 3)
    assert rows["c"] == ("c", "mine", *["0.300 (-0.200)"] * 3)
    assert set(rows) == {"none", "a", "b", "c"}
    assert leaving_out(_answers("alone", {"click": 0.5})).rows == ()


@pytest.fixture
def stones(sample: Sample) -> Sample:
    """Two bright stones in the drawn image, of nine and of 121 px, at half a millimetre."""
    image, masks = sample.image.copy(), []
    for side, row in ((3, 90), (11, 100)):
        mask = np.zeros(sample.size, np.bool_)
        mask[row : row + side, 130 : 130 + side] = True
        image[mask] = 250
        masks.append(mask)
    return replace(sample, image=image, targets=tuple(mask_target("kidney stone", mask) for mask in masks))


def test_stones_of_any_size_have_centre_and_diameter_with_and_without_refinement(stones: Sample) -> None:
    """A stone of nine pixels counts: its jittered box is off it, false and missed; a click's large square is missed."""
    findings = evaluate([BoxFiller()], [stones], ("box", "click", "refined"), 24.0)
    rows = {row[1]: row for row in millimetres(findings.outcomes).rows}
    assert list(rows) == ["box", "box jittered", "box jittered, refined", "click", "click, refined", "deepest click"]
    assert {row[0] for row in rows.values()} == {"drawings"}
    assert {row[-1] for row in rows.values()} == {"2"}
    assert rows["box"][3:8] == ("0.000 (1 patient)", "0.000 (1 patient)", "0.00", "0.00", "0.00")
    assert rows["box jittered"][6:8] == ("0.50", "0.50")
    assert rows["click"][6:8] == ("1.00", "0.00")
    found = figures_by_source(findings.outcomes)
    assert found["accuracy_drawings_click_missed_box_filler"] == 1
    assert found["accuracy_drawings_box_jittered_false_box_filler"] == 0.5
    plain, refined = (
        found[f"accuracy_drawings_box_jittered{it}_centre_error_mm_box_filler"] for it in ("", "_refined")
    )
    assert refined < plain
