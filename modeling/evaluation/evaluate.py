"""The evaluation itself: every sample, every model, every target, every protocol."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hilum.serving.calibration import ScoreCalibration
from hilum.types import BoolMask, Box, Prompt
from modeling.evaluation.case import Case
from modeling.evaluation.detections import evaluate_detections
from modeling.evaluation.outcome import Outcome, measured
from modeling.evaluation.predictor import Predictor
from modeling.evaluation.protocols import GROUPS, available
from modeling.sample import Sample

WORST_KEPT = 8
WORST_PROTOCOLS = ("box jittered", "click")


@dataclass(frozen=True, eq=False)
class WorstCase:
    """An answer to be looked at."""

    outcome: Outcome
    sample: Sample
    truth: BoolMask
    mask: BoolMask
    prompt: Prompt

    @property
    def fit(self) -> float:
        """Dice, or IoU of boxes where only the target's box is known."""
        return self.outcome.values.get("dice", self.outcome.values.get("box_iou", 0.0))


@dataclass(eq=False)
class Findings:
    """What an evaluation found, growing as it runs.

    Attributes:
        outcomes: every measured answer.
        worst: the worst answers by (model, protocol), worst first, one per target.
        images: how many were evaluated.
        small: targets too small for measures of overlap.
        missing: groups of protocols by model that it does not answer.
        calibrations: what models' scores are worth, by model and modality.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    worst: dict[tuple[str, str], list[WorstCase]] = field(default_factory=dict)
    images: int = 0
    small: int = 0
    missing: dict[str, list[str]] = field(default_factory=dict)
    calibrations: dict[str, Mapping[str, ScoreCalibration]] = field(default_factory=dict)


def evaluate(
    predictors: Sequence[Predictor],
    samples: Iterable[Sample],
    groups: Sequence[str],
    fixed_side: float,
    *,
    detections: Mapping[str, Sequence[Box]] | None = None,
    on_image: Callable[[int], None] = lambda count: None,
) -> Findings:
    """Evaluate predictors on samples.

    Args:
        predictors: at least one.
        samples: read one at a time.
        groups: names of `protocols.GROUPS`.
        fixed_side: of the baseline's box at a click, px.
        detections: a detector's boxes by sample, to be used as prompts too.
        on_image: called after each image with the number done.
    """
    findings = Findings()
    for predictor in predictors:
        findings.calibrations[predictor.name] = predictor.calibration
        findings.missing[predictor.name] = [name for name in groups if not available(predictor, name)]
    for sample in samples:
        cases = [Case(sample, number, fixed_side) for number in range(len(sample.targets))]
        findings.small += sum(case.small for case in cases)
        for predictor in predictors:
            predictor.set_image(sample)
        # Every model answers about a target before the next one, so that models share the few regions that are kept.
        for case in cases:
            for predictor in predictors:
                _evaluate_case(findings, predictor, case, groups)
        if detections is not None:
            for predictor in predictors:
                findings.outcomes += evaluate_detections(predictor, sample, detections.get(sample.name, ()))
        findings.images += 1
        on_image(findings.images)
    return findings


def median_side(samples: Iterable[Sample]) -> float:
    """Median side of the targets' boxes, px, for the baseline's box; 32 where there are none."""
    sides = [
        side
        for sample in samples
        for target in sample.targets
        for side in (target.box.x_max - target.box.x_min, target.box.y_max - target.box.y_min)
    ]
    return float(np.median(sides)) if sides else 32.0


def _evaluate_case(findings: Findings, predictor: Predictor, case: Case, groups: Sequence[str]) -> None:
    for name in groups:
        if name in findings.missing[predictor.name]:
            continue
        function, _ = GROUPS[name]
        for trial in function(predictor, case):
            outcome = measured(predictor.name, case, trial)
            findings.outcomes.append(outcome)
            if trial.protocol in WORST_PROTOCOLS and not case.small:
                _keep_worst(findings, WorstCase(outcome, case.sample, case.mask, trial.mask, trial.prompt))


def _keep_worst(findings: Findings, case: WorstCase) -> None:
    outcome = case.outcome
    kept = findings.worst.setdefault((outcome.model, outcome.protocol), [])
    same = [it for it in kept if (it.sample.name, it.outcome.target) == (case.sample.name, outcome.target)]
    if same and same[0].fit <= case.fit:
        return
    for it in same:
        kept.remove(it)
    kept.append(case)
    kept.sort(key=lambda it: it.fit)
    del kept[WORST_KEPT:]
