"""The report: tables on paper (Markdown), in numbers (JSON), and with pictures (HTML)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from modeling.evaluation import studies, tables
from modeling.evaluation.case import MINIMUM_AREA_PX, SEED
from modeling.evaluation.difficulty import factor_table
from modeling.evaluation.evaluate import Findings
from modeling.evaluation.outcome import Outcome, chosen, macro_mean
from modeling.evaluation.page import html
from modeling.evaluation.score import score_table
from modeling.evaluation.statistics import RESAMPLES
from modeling.evaluation.tables import Table


@dataclass(frozen=True)
class Setting:
    """What was evaluated, in words that the report repeats.

    Attributes:
        data: name of the collection.
        split: which part of it.
        fixed_side: of the baseline's box, px.
        fixed_side_from: the split its median was taken from.
    """

    data: str
    split: str
    fixed_side: float
    fixed_side_from: str

    def lines(self, findings: Findings) -> list[str]:
        """A list of Markdown items."""
        outcomes = findings.outcomes
        patients, sources = len({it.patient for it in outcomes}), sorted({it.source for it in outcomes})
        refused = [f"{name}: {', '.join(groups)}" for name, groups in findings.missing.items() if groups]
        return [
            f"- {self.data}, split {self.split}: {findings.images} images of {patients} patients in {len(sources)} "
            f"sources ({', '.join(sources)}); of them simulated: {_simulated(outcomes)}",
            f"- {findings.small} targets of fewer than {MINIMUM_AREA_PX} px, measured by centre and diameter only",
            f"- seed of prompts {SEED}, {RESAMPLES} resamples of patients",
            f"- fixed-size box at the click: side {self.fixed_side:.0f} px, the median of the {self.fixed_side_from}",
            f"- prompts refused, or not asked with regions: {'; '.join(refused) or 'none'}",
        ]


def all_tables(findings: Findings) -> list[Table]:
    """Every table that has rows."""
    outcomes = findings.outcomes
    makers = (
        tables.dice_by_source,
        tables.measures_by_protocol,
        tables.differences,
        tables.conditions,
        tables.leaving_out,
        tables.clicks_needed,
        tables.boxes_only,
        tables.millimetres,
        factor_table,
        studies.stone_table,
        studies.breast_table,
        studies.skin_table,
        studies.consistency_table,
    )
    score = score_table(outcomes, findings.calibrations)
    return [table for table in (*(maker(outcomes) for maker in makers), score) if table.rows]


def markdown(setting: Setting, findings: Findings, shown: Sequence[Table]) -> str:
    """The whole report as Markdown."""
    head = ["# Evaluation", "", "Not for diagnosis.", "", *setting.lines(findings), ""]
    return "\n".join(head) + "\n" + "\n".join(table.markdown() for table in shown)


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Flat accuracy_* figures: macro means of Dice (box IoU where no masks are known) by model and protocol."""
    return _figures("accuracy", outcomes, ("dice", "box_iou", "box_gain", "hit"))


def figures_by_source(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Flat accuracy_SOURCE_* figures of each source by itself, centre and diameter among them.

    A macro mean over some of the sources would pass for the one over all.
    """
    found: dict[str, float] = {}
    measures = ("dice", "box_iou", "box_gain", "hit", "centre_error_mm", "diameter_error_mm")
    for source in sorted({it.source for it in outcomes}):
        here, prefix = chosen(outcomes, source=source), f"accuracy_{_word(source)}"
        found |= _figures(prefix, here, measures)
        for protocol, model in product(tables.PLACED, tables.models_of(here)):
            placed = [it for it in chosen(here, protocol=protocol, model=model) if "touches" in it.values]
            for name, share in zip(("missed", "false"), tables.missed_and_false(placed), strict=True):
                found[f"{prefix}_{_word(protocol)}_{name}_{_word(model)}"] = share
    return found


def write_report(folder: Path, setting: Setting, findings: Findings) -> list[Table]:
    """Write report.md, report.json and report.html; returns the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = all_tables(findings)
    (folder / "report.md").write_text(markdown(setting, findings, shown), encoding="utf-8")
    page = html(setting.lines(findings), findings, shown)
    (folder / "report.html").write_text(page, encoding="utf-8")
    content: dict[str, Any] = {
        "setting": vars(setting),
        "tables": [vars(table) for table in shown],
        "outcomes": [_finite(it.to_json()) for it in findings.outcomes],
    }
    (folder / "report.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return shown


def add_figures(path: Path, found: dict[str, float]) -> None:
    """Add figures to the benchmarks' flat JSON object; others that stand there stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, object] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known |= {name: float(f"{value:.4g}") for name, value in found.items() if math.isfinite(value)}
    path.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n", encoding="utf-8")


def _figures(prefix: str, outcomes: Sequence[Outcome], measures: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for model, protocol in product(tables.models_of(outcomes), tables.protocols_of(outcomes)):
        here = chosen(outcomes, model=model, protocol=protocol)
        for measure in measures:
            mean = macro_mean(here, measure)
            if mean.count:
                found[f"{prefix}_{_word(protocol)}_{measure}_{_word(model)}"] = mean.value
    return found


def _word(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _simulated(outcomes: Sequence[Outcome]) -> str:
    names = sorted({it.source for it in outcomes if it.simulated})
    return ", ".join(names) or "none"
