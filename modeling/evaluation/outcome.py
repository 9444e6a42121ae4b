"""One measured answer, and how many of them become one number."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from modeling.evaluation import measures
from modeling.evaluation.case import Case, Trial
from modeling.evaluation.statistics import Interval, macro_interval, mean_interval


@dataclass(frozen=True)
class Outcome:
    """A trial's measures, without pixels.

    Attributes:
        model: name of what answered; "" for baselines without a model.
        protocol: what was asked.
        source: the target's data set.
        modality: DICOM modality.
        patient: unique over all sources.
        sample: name of the image.
        target: number of the target in it.
        label: what it is.
        simulated: whether the image was computed.
        values: measures by name; "score" is the model's own.
    """

    model: str
    protocol: str
    source: str
    modality: str
    patient: str
    sample: str
    target: int
    label: str
    simulated: bool
    values: dict[str, float] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        fields = {name: value for name, value in vars(self).items() if name != "values"}
        return fields | self.values

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The outcome of such an object, as reports hold it: numbers that are not finite are null there."""
        names = [entry.name for entry in dataclasses.fields(cls) if entry.name != "values"]
        values = {
            name: math.nan if value is None else float(value) for name, value in plain.items() if name not in names
        }
        return cls(**{name: plain[name] for name in names}, values=values)


def measured(model: str, case: Case, trial: Trial) -> Outcome:
    """Measure a trial: against the target's mask where it is known, else against its box.

    Of small targets only centre, diameter, and whether they are found: overlap there is a matter of single pixels.
    """
    sample, truth = case.sample, case.target.mask
    values = {"score": trial.score}
    if truth is None or case.place is None:
        values |= measures.against_box(case.target.box, trial.mask, trial.prompt.box)
    else:
        spacing = sample.spacing_mm or (1.0, 1.0)
        overlap = measures.overlap(truth, trial.mask)
        values |= measures.placement(case.place, measures.place(trial.mask, spacing), spacing)
        values |= {"touches": float(overlap["tp"] > 0)}
        values |= {name: overlap[name] for name in ("found", "empty")}
        if not case.small:
            values |= overlap | measures.surfaces(truth, trial.mask, spacing) | case.factors
    if trial.clicks is not None:
        values |= {"clicks_to_85": trial.clicks[0], "clicks_to_90": trial.clicks[1]}
    return Outcome(
        model,
        trial.protocol,
        sample.source,
        sample.modality,
        f"{sample.source}/{sample.patient}",
        sample.name,
        case.number,
        case.target.label,
        sample.simulated,
        values,
    )


def chosen(outcomes: Iterable[Outcome], **fields: str) -> list[Outcome]:
    """Those whose fields have these values, such as protocol="click"."""
    return [it for it in outcomes if all(getattr(it, name) == value for name, value in fields.items())]


def per_image(outcomes: Iterable[Outcome], measure: str) -> tuple[list[float], list[str]]:
    """One mean per image, over its targets and repetitions, and the image's patient; without outcomes that lack it."""
    images: dict[tuple[str, str], tuple[str, list[float]]] = {}
    for it in outcomes:
        value = it.values.get(measure)
        if value is not None and value == value:  # noqa: PLR0124  # NaN: no centre, no score
            images.setdefault((it.source, it.sample), (it.patient, []))[1].append(value)
    return [sum(values) / len(values) for _, values in images.values()], [patient for patient, _ in images.values()]


def image_mean(outcomes: Iterable[Outcome], measure: str) -> Interval:
    """Mean over images, interval over patients."""
    return mean_interval(*per_image(outcomes, measure))


def macro_mean(outcomes: Sequence[Outcome], measure: str) -> Interval:
    """Mean over sources of their means over images."""
    sources = sorted({it.source for it in outcomes})
    return macro_interval({name: per_image(chosen(outcomes, source=name), measure) for name in sources})


def paired(after: Sequence[Outcome], before: Sequence[Outcome], measure: str) -> list[Outcome]:
    """Differences after - before on the same prompts, as outcomes whose `measure` is the difference.

    Outcomes belong together by sample, target, protocol and order among repetitions; those without a partner are left
    out.
    """
    partners = _by_prompt(before)
    differences = []
    for key, it in _by_prompt(after).items():
        if key in partners and measure in it.values and measure in partners[key].values:
            difference = it.values[measure] - partners[key].values[measure]
            identity = {name: value for name, value in vars(it).items() if name != "values"}
            differences.append(Outcome(**identity, values={measure: difference}))
    return differences


def _by_prompt(outcomes: Iterable[Outcome]) -> dict[tuple[str, str, int, str, int], Outcome]:
    seen: dict[tuple[str, str, int, str], int] = {}
    keyed = {}
    for it in outcomes:
        key = (it.source, it.sample, it.target, it.protocol)
        seen[key] = seen.get(key, -1) + 1
        keyed[(*key, seen[key])] = it
    return keyed
