"""examples.click.comparison: means of every model, and what leaving out changed, on hand-made answers."""

import json

import pytest

from examples.click.comparison import PROTOCOLS, figures, tables
from examples.click.groups import NOTHING, Group
from modeling.evaluation.outcome import Outcome
from modeling.evaluation.tables import MACRO

BASE = "base"
CT = Group("ct", sources=frozenset({"organs"}), related=("organs", "boxed"))
PICTURES = Group("pictures", sources=frozenset({"pictures"}))
# Dice (box IoU on "boxed") of each model, by source; two patients with one image each, a tenth apart.
FITS = {
    NOTHING.model: {"organs": 0.8, "heads": 0.6, "boxed": 0.5},
    CT.model: {"organs": 0.5, "heads": 0.6, "boxed": 0.5},
    PICTURES.model: {"organs": 0.8, "heads": 0.5, "boxed": 0.5},
    BASE: {"organs": 0.3, "heads": 0.1, "boxed": 0.2},
}


def _outcome(model: str, source: str, patient: int, protocol: str, fit: float) -> Outcome:
    values = {"box_iou": fit, "centre_inside": 1.0, "hit": 1.0} if source == "boxed" else {"dice": fit}
    return Outcome(model, protocol, source, "CT", f"{source}/{patient}", f"{source}-{patient}", 0, "it", False, values)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    answers = [
        _outcome(model, source, patient, protocol, fit + 0.1 * patient)
        for model, fits in FITS.items()
        for source, fit in fits.items()
        for patient in (0, 1)
        for protocol in (*PROTOCOLS, "deepest click")
        # The best of three is not known where only a box is.
        if not (source == "boxed" and "best" in protocol)
    ]
    return [
        it if it.protocol != "deepest click" else _outcome(it.model, it.source, 0, it.protocol, 0) for it in answers
    ]


def _values(row: tuple[str, ...]) -> list[str]:
    """The cells without their intervals."""
    return [cell.split(" ")[0] for cell in row[3:]]


def test_every_model_is_shown_beside_the_reference(outcomes: list[Outcome]) -> None:
    """All sources for all models; then a group's own sources, masks and boxes apart, for it, reference and base."""
    table = tables(outcomes, [CT, PICTURES])[0]
    assert table.header[3:] == PROTOCOLS
    everything = f"everything ({BASE})"
    assert [row[:3] for row in table.rows] == [
        *[(name, MACRO, "Dice") for name in ("nothing", "ct", "pictures", everything)],
        *[(name, "organs", "Dice") for name in ("nothing", "ct", everything)],
        *[(name, "boxed", "box IoU") for name in ("nothing", "ct", everything)],
    ]
    assert _values(table.rows[0]) == ["0.750"] * 3
    assert _values(table.rows[1]) == ["0.600"] * 3
    assert _values(table.rows[5]) == ["0.550"] * 3
    assert _values(table.rows[8]) == ["0.550", "-", "0.550"]


def test_the_change_is_paired(outcomes: list[Outcome]) -> None:
    """Leaving out is compared on the same images: a loss that is the same everywhere has an interval without width."""
    table = tables(outcomes, [CT, PICTURES])[1]
    assert [row[:2] for row in table.rows] == [
        ("ct", "organs"),
        ("ct", "boxed"),
        ("ct", MACRO),
        ("pictures", MACRO),
    ]
    assert table.rows[0][3] == "-0.300 [-0.300, -0.300]"
    assert _values(table.rows[1]) == ["0.000", "-", "0.000"]
    assert _values(table.rows[2]) == ["-0.150"] * 3
    assert _values(table.rows[3]) == ["-0.050"] * 3


def test_figures_are_json(outcomes: list[Outcome]) -> None:
    """Each mean stands in the figures with its interval, and a lone patient's interval is null, not NaN."""
    alone = [it for it in outcomes if it.patient == "heads/0"]
    found = json.loads(json.dumps(figures([*alone]), allow_nan=False))
    mine = [it for it in found if (it["model"], it["protocol"], it["source"]) == (CT.model, "click", "heads")]
    assert [(it["measure"], it["value"], it["low"], it["patients"]) for it in mine] == [("dice", 0.6, None, 1)]
    assert {it["protocol"] for it in figures(outcomes)} == set(PROTOCOLS)
    assert {it["source"] for it in figures(outcomes)} == {"organs", "heads", "boxed", MACRO}
