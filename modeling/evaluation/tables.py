"""Tables of an evaluation, as rows of text: rendered as Markdown, HTML and on the terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.measures import Counts, object_counts
from modeling.evaluation.outcome import Outcome, chosen, image_mean, macro_mean, paired
from modeling.evaluation.protocols import MOST_CLICKS
from modeling.evaluation.statistics import Interval, clopper_pearson, pooled_interval

# What few clicks are held against, from the least that is expected to the most; then what a full box would give.
CONDITIONS = ("fixed-size box at the click", "click", "3 clicks", "5 clicks")
PLACED = ("box", "box jittered", "box jittered, refined", "click", "click, refined", "deepest click")
LEFT_OUT = ("click", "click, best of three", "box jittered")
NOT_AVAILABLE = "not available"
MACRO = "all sources, macro mean"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: one line.
        note: how to read it: aggregation, units.
        header: names of the columns.
        rows: as many texts each.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """A Markdown section."""
        lines = [f"## {self.title}", "", self.note, ""]
        lines += [f"| {' | '.join(self.header)} |", f"|{'---|' * len(self.header)}"]
        return "\n".join(lines + [f"| {' | '.join(row)} |" for row in self.rows]) + "\n"


def models_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Names of models in the order in which they first answered."""
    return list(dict.fromkeys(it.model for it in outcomes))


def protocols_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Protocols in the order in which they were first asked."""
    return list(dict.fromkeys(it.protocol for it in outcomes))


def dice_by_source(outcomes: Sequence[Outcome]) -> Table:
    """Dice of every source and protocol, one column a model."""
    masks = _with_masks(outcomes)
    models, rows = models_of(masks), []
    for protocol in protocols_of(masks):
        here = chosen(masks, protocol=protocol)
        sources = sorted({it.source for it in here})
        for source in sources:
            cells = [image_mean(chosen(here, source=source, model=model), "dice") for model in models]
            rows.append(_interval_row(protocol, source, cells))
        rows.append(_interval_row(protocol, MACRO, [macro_mean(chosen(here, model=model), "dice") for model in models]))
    note = (
        "Dice: mean over a source's images of the mean over an image's targets and repetitions, with a 95 % interval "
        "from drawing patients again; the last row of a protocol gives each source the same weight, and its interval "
        "draws sources again, too."
    )
    return Table("Dice", note, ("protocol", "source", *models, "patients", "images"), tuple(rows))


def measures_by_protocol(outcomes: Sequence[Outcome]) -> Table:
    """Every overlap and surface measure, macro mean over sources; pooled Dice and object level beside it."""
    masks, rows = _with_masks(outcomes), []
    names = ("iou", "precision", "recall", "f1", "accuracy", "surface_dice", "hausdorff95_mm", "hausdorff95_px")
    for protocol in protocols_of(masks):
        for model in models_of(masks):
            here = chosen(masks, protocol=protocol, model=model)
            if here:
                cells = [_plain(macro_mean(here, name)) for name in names]
                rows.append((protocol, model, *cells, str(pooled(here, "dice")), _objects(here)))
    note = (
        "Macro mean over sources of means over images; F1 of a mask is its Dice. Pooled: all pixels of all answers as "
        "one mask. Objects: share of targets whose mask has IoU .5 or more, 1 answer a target."
    )
    header = ("protocol", "model", *names, "pooled Dice", "objects found")
    return Table("All measures", note, header, tuple(rows))


def pooled(outcomes: Sequence[Outcome], measure: str) -> Interval:
    """A measure of all pixels together, such as "dice"."""
    counts = np.array([[it.values[name] for name in ("tp", "fp", "fn", "tn")] for it in outcomes])

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = [float(getattr(Counts(*row), measure)) for row in sums.reshape(-1, 4)]
        return np.array(flat).reshape(sums.shape[:-1])

    return pooled_interval(counts, [it.patient for it in outcomes], of)


def differences(outcomes: Sequence[Outcome]) -> Table:
    """Each model against the first on the same prompts."""
    models, rows = models_of(outcomes), []
    for model in models[1:]:
        for protocol in protocols_of(outcomes):
            after, before = (chosen(outcomes, model=name, protocol=protocol) for name in (model, models[0]))
            measure = "dice" if any("dice" in it.values for it in after) else "box_iou"
            pairs = paired(after, before, measure)
            if pairs:
                sources = sorted({it.source for it in pairs})
                worst = min(sources, key=lambda name: image_mean(chosen(pairs, source=name), measure).value)
                lowest = image_mean(chosen(pairs, source=worst), measure)
                macro = macro_mean(pairs, measure)
                row = (protocol, model, measure, str(macro), f"{worst}: {lowest}", str(macro.patients))
                rows.append(row)
    note = (
        f"Mean over sources of the paired difference to {models[0] if models else 'the first model'}; the interval's "
        "lower end is the bound asked for (two-sided 95 %, so 97.5 % on its side)."
    )
    header = ("protocol", "model", "measure", "difference", "worst source", "patients")
    return Table("Paired comparison", note, header, tuple(rows))


def conditions(outcomes: Sequence[Outcome]) -> Table:
    """Whether more clicks are better, and one better than a box of fixed size around it, by source and model."""
    rows = []
    shown = (*CONDITIONS, "filled box")
    masks = [it for it in _with_masks(outcomes) if it.protocol in shown]
    for source in [*sorted({it.source for it in masks}), MACRO]:
        for model in models_of(masks):
            here = _of(chosen(masks, model=model), source)
            means = {name: macro_mean(chosen(here, protocol=name), "dice") for name in shown}
            if all(mean.count for mean in means.values()):
                wrong = [pair for pair in pairwise(CONDITIONS) if means[pair[1]].value <= means[pair[0]].value]
                verdict = f"no: {', '.join(f'{more} not above {less}' for less, more in wrong)}" if wrong else "yes"
                rows.append((source, model, *map(_plain, means.values()), verdict))
    note = (
        "Dice, means over images as in the first table; one click is the model's first choice, over all random "
        "clicks, 3 and 5 clicks go on from the first of them. In order: one click is better than the model's answer to "
        "a box of fixed size at that click, three clicks better than one, five better than three."
    )
    return Table("Few clicks", note, ("source", "model", *shown, "in order"), tuple(rows))


def leaving_out(outcomes: Sequence[Outcome]) -> Table:
    """Macro means of Dice without each source in turn."""
    rows = []
    masks = [it for it in _with_masks(outcomes) if it.protocol in LEFT_OUT]
    sources = sorted({it.source for it in masks})
    for left_out in ["none", *sources] if len(sources) > 1 else []:
        for model in models_of(masks):
            here = chosen(masks, model=model)
            cells = []
            for name in LEFT_OUT:
                with_all = chosen(here, protocol=name)
                mean = macro_mean([it for it in with_all if it.source != left_out], "dice")
                change = mean.value - macro_mean(with_all, "dice").value
                cells.append(f"{_plain(mean)} ({change:+.3f})" if mean.count else NOT_AVAILABLE)
            rows.append((left_out, model, *cells))
    note = "Dice, mean over the other sources' means, and its change from the mean over all: what one source carries."
    return Table("Leaving one source out", note, ("left out", "model", *LEFT_OUT), tuple(rows))


def clicks_needed(outcomes: Sequence[Outcome]) -> Table:
    """Clicks to IoU .85 and .90 (NoC), 20 where not reached."""
    rows = []
    here = [it for it in outcomes if "clicks_to_85" in it.values and it.protocol.startswith("20 clicks")]
    for source in [*sorted({it.source for it in here}), MACRO]:
        for model in models_of(here):
            mine = _of(chosen(here, model=model), source)
            # Within one source the macro mean is the mean over its images.
            means = [str(macro_mean(mine, name)) for name in ("clicks_to_85", "clicks_to_90")]
            unreached = mean_of(it.values["clicks_to_90"] >= MOST_CLICKS for it in mine)
            rows.append((source, model, *means, f"{unreached:.2f}"))
    note = "Deepest point first, then the deepest point of the largest error; unreached counts as 20."
    header = ("source", "model", "NoC@85", "NoC@90", "share at 20 for .90")
    return Table("Clicks needed", note, header, tuple(rows))


def boxes_only(outcomes: Sequence[Outcome]) -> Table:
    """Targets known by their box: gain over the prompt's own box, centres inside, hits of a click."""
    rows = []
    here = [it for it in outcomes if "box_iou" in it.values]
    for protocol in protocols_of(here):
        for model in models_of(here):
            mine = chosen(here, protocol=protocol, model=model)
            if mine:
                means = (str(image_mean(mine, name)) for name in ("box_iou", "box_gain"))
                shares = (_share(mine, name) for name in ("centre_inside", "hit"))
                rows.append((protocol, model, *means, *shares))
    note = (
        "Box IoU of the mask's tight box with the labelled box, and that minus the IoU of the jittered box itself. "
        "Hit: the mask's centre lies in the labelled box and its extent is at most twice the box's; Clopper-Pearson "
        "interval with the first repetition of each target as one trial."
    )
    header = ("protocol", "model", "box IoU", "gain over the prompt", "centre inside", "hit")
    return Table("Targets known by their box", note, header, tuple(rows))


def millimetres(outcomes: Sequence[Outcome]) -> Table:
    """Errors of centre and longest diameter, objects missed and false ones; refined masks beside the model's."""
    rows = []
    here = [it for it in outcomes if "centre_error_mm" in it.values]
    for source, protocol, model in product(sorted({it.source for it in here}), PLACED, models_of(here)):
        mine = chosen(here, protocol=protocol, model=model, source=source)
        if mine:
            diameters = [abs(it.values["diameter_error_mm"]) for it in mine]
            means = (str(image_mean(mine, "centre_error_mm")), str(image_mean(mine, "diameter_error_mm")))
            absolute = f"{np.nanmean(diameters):.2f}" if np.isfinite(diameters).any() else "-"
            targets = str(len({(it.sample, it.target) for it in mine}))
            shares = (f"{share:.2f}" for share in missed_and_false(mine))
            rows.append((source, protocol, model, *means, absolute, *shares, targets))
    note = (
        "Where the spacing is known, targets of fewer than 20 px among them; longest (Feret) diameter, signed and "
        "absolute; missed: IoU below .5; false: a mask that does not touch its target. Refined: moved to the "
        "intensities around it as the decoder service does on request; stones only."
    )
    header = ("centre error mm", "diameter error mm", "absolute", "missed", "false", "targets")
    return Table("Centre and diameter", note, ("source", "protocol", "model", *header), tuple(rows))


def missed_and_false(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Share of answers with IoU below .5, and of those that have pixels and do not touch their target."""
    missed = mean_of(it.values["found"] == 0 for it in outcomes)
    return missed, mean_of(not it.values["touches"] and not it.values["empty"] for it in outcomes)


def mean_of(flags: Iterable[bool]) -> float:
    """Share of true flags; NaN of none."""
    values = [float(flag) for flag in flags]
    return sum(values) / len(values) if values else float("nan")


def _of(outcomes: Sequence[Outcome], source: str) -> Sequence[Outcome]:
    return outcomes if source == MACRO else chosen(outcomes, source=source)


def _with_masks(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [it for it in outcomes if "dice" in it.values]


def _interval_row(protocol: str, source: str, cells: Sequence[Interval]) -> tuple[str, ...]:
    known = [cell for cell in cells if cell.count]
    numbers = (str(max((cell.patients for cell in known), default=0)), str(max((c.count for c in known), default=0)))
    return (protocol, source, *(str(cell) if cell.count else NOT_AVAILABLE for cell in cells), *numbers)


def _plain(interval: Interval) -> str:
    return f"{interval.value:.3f}" if interval.count else "-"


def _share(outcomes: Sequence[Outcome], measure: str) -> str:
    first = {(it.source, it.sample, it.target): it for it in reversed(outcomes)}.values()
    return str(clopper_pearson(int(sum(it.values[measure] for it in first)), len(first)))


def _objects(outcomes: Sequence[Outcome]) -> str:
    counts = object_counts(*(np.array([it.values[name] for it in outcomes]) for name in ("found", "empty")))
    return f"{counts.recall:.3f}"
