"""What of a prediction is written: one mask per prompt, with its number and label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hilum.errors import InvalidField
from hilum.types import Image, PredictedMask, Prediction, Prompt

NOTICE = "not for diagnosis"
SIMULATED = "simulated"
ABSTAINS = "abstains: look again"


@dataclass(frozen=True)
class Segment:
    """One target.

    Attributes:
        number: From 1, in the order of the prompts.
        label: What people see.
        prompt: What marked it, where known.
        predicted: Its mask: of several, the one with the highest model score.
    """

    number: int
    label: str
    prompt: Prompt | None
    predicted: PredictedMask


def chosen_segments(
    prediction: Prediction, *, prompts: Sequence[Prompt] = (), labels: Sequence[str] = ()
) -> tuple[Segment, ...]:
    """Returns one segment per prompt.

    Args:
        prediction: What `predict` returned.
        prompts: Its prompts, or none.
        labels: One per prompt, or none for "Target 1" and so on.

    Raises:
        InvalidField: Prompts or labels are not as many as the prediction's.
    """
    count = len(prediction.masks)
    for field, values in (("prompts", prompts), ("labels", labels)):
        if values and len(values) != count:
            raise InvalidField(f"{len(values)} given, the prediction has {count} prompts", field=field)
    return tuple(
        Segment(
            number=index + 1,
            label=labels[index] if labels else f"Target {index + 1}",
            prompt=prompts[index] if prompts else None,
            predicted=prediction.best(index),
        )
        for index in range(count)
    )


def score_words(mask: PredictedMask) -> str:
    """Returns what people read of a mask's score: an IoU only where it is calibrated, and whether to look again."""
    words = [f"model score {mask.model_score:.2f}"]
    if mask.expected_iou is not None:
        words.append(f"expected IoU {mask.expected_iou:.2f}")
    if mask.abstain:
        words.append(ABSTAINS)
    return ", ".join(words)


def require_same_size(image: Image, segments: Sequence[Segment]) -> None:
    """Refuses masks that are not of the image's size."""
    for segment in segments:
        if segment.predicted.mask.shape != image.size:
            raise InvalidField(f"mask of {segment.predicted.mask.shape}, image of {image.size}", field="prediction")
