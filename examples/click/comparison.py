"""What leaving out training images changed: tables and figures of models that learnt without them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from examples.click.groups import NOTHING, Group
from modeling.evaluation.outcome import Outcome, chosen, macro_mean, paired
from modeling.evaluation.tables import MACRO, Table, boxes_only, dice_by_source, models_of

PROTOCOLS = ("click", "click, best of three", "box jittered")
MEASURES = {"dice": "Dice", "box_iou": "box IoU"}
HEADER = ("left out", "tested on", "measure", *PROTOCOLS)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Answers of all models on some test sources.

    Attributes:
        name: of the sources.
        measure: "dice", or "box_iou" where only the targets' boxes are known.
        outcomes: the answers.
    """

    name: str
    measure: str
    outcomes: list[Outcome]

    @property
    def words(self) -> tuple[str, str]:
        """As tables say it."""
        return self.name, MEASURES[self.measure]

    def means(self, model: str) -> list[str]:
        """A model's mean over the sources, by protocol."""
        mine = chosen(self.outcomes, model=model)
        return [str(macro_mean(chosen(mine, protocol=protocol), self.measure)) for protocol in PROTOCOLS]

    def differences(self, model: str) -> list[str]:
        """The mean difference to the model that learnt from everything, by protocol."""
        after, before = (chosen(self.outcomes, model=name) for name in (model, NOTHING.model))
        pairs = paired(after, before, self.measure)
        return [str(macro_mean(chosen(pairs, protocol=protocol), self.measure)) for protocol in PROTOCOLS]


def tables(outcomes: Sequence[Outcome], groups: Sequence[Group]) -> list[Table]:
    """All tables: what was reached, what leaving out changed, and every test source.

    Args:
        outcomes: of the models without `NOTHING` and without each group, and of their base.
        groups: what was left out.
    """
    asked = [it for it in outcomes if it.protocol in PROTOCOLS]
    shown = [_reached(asked, groups), _changed(asked, groups), dice_by_source(asked), boxes_only(asked)]
    return [table for table in shown if table.rows]


def figures(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The mean of every model, protocol and test source, and over all sources, with its interval, for JSON."""
    found = []
    for model in models_of(outcomes):
        for protocol in PROTOCOLS:
            mine = chosen(outcomes, model=model, protocol=protocol)
            for source in [*sorted({it.source for it in mine}), MACRO]:
                here = mine if source == MACRO else chosen(mine, source=source)
                for measure in MEASURES:
                    mean = macro_mean(here, measure)
                    if mean.count:
                        what = {"model": model, "protocol": protocol, "source": source, "measure": measure}
                        # JSON has no NaN, which is the interval of one patient.
                        found.append(what | {k: None if math.isnan(v) else v for k, v in vars(mean).items()})
    return found


def _reached(outcomes: Sequence[Outcome], groups: Sequence[Group]) -> Table:
    names = _names(outcomes, groups)
    rows = [(name, *on.words, *on.means(model)) for on in _all(outcomes) for model, name in names.items()]
    for group in groups:
        others = {it.model for it in groups} - {group.model}
        rows += [
            (name, *on.words, *on.means(model))
            for on in _related(outcomes, group)
            for model, name in names.items()
            if model not in others
        ]
    note = (
        "Test patients, whom no fine-tuning has seen. Each of five random clicks alone, first choice and best of "
        "three, and a jittered box. Mean over sources of means over images, with a 95 % interval that draws patients, "
        "and sources, again. First all test sources, then for each group the test sources most like it."
    )
    return Table("What generalises", note, HEADER, tuple(rows))


def _changed(outcomes: Sequence[Outcome], groups: Sequence[Group]) -> Table:
    rows = [
        (group.name, *on.words, *on.differences(group.model))
        for group in groups
        for on in (*_related(outcomes, group), *_all(outcomes))
    ]
    note = (
        "Mean paired difference, on the same prompts, to the model that learnt from everything: below zero, what was "
        "left out is missed. Intervals know of other patients, not of other trainings: nothing-redrawn, the same "
        "images drawn in another order, shows how much those differ."
    )
    return Table("Change by leaving out", note, HEADER, tuple(rows))


def _names(outcomes: Sequence[Outcome], groups: Sequence[Group]) -> dict[str, str]:
    """What was left out of each model's training, by the model; its base had none of it."""
    learnt = {group.model: group.name for group in (NOTHING, *groups)}
    return {model: learnt.get(model, f"everything ({model})") for model in models_of(outcomes)}


def _all(outcomes: Sequence[Outcome]) -> Iterator[Comparison]:
    masks = [it for it in outcomes if "dice" in it.values]
    if masks:
        yield Comparison(MACRO, "dice", masks)


def _related(outcomes: Sequence[Outcome], group: Group) -> Iterator[Comparison]:
    for measure in MEASURES:
        here = [it for it in outcomes if it.source in group.related and measure in it.values]
        if here:
            yield Comparison(", ".join(sorted({it.source for it in here})), measure, here)
