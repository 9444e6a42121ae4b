"""All masks of every target, as results that files can hold: one mask, one label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hilum.types import Prediction, Prompt


def every_candidate(
    prediction: Prediction, prompts: Sequence[Prompt], labels: Sequence[str]
) -> tuple[Prediction, list[Prompt], list[str]]:
    """Returns a prediction with a prompt of its own for every mask, those prompts, and their labels.

    Args:
        prediction: Of which every prompt has one mask or more.
        prompts: One per target.
        labels: One per target, or none for "Target 1" and so on.
    """
    places = [(index, place) for index, masks in enumerate(prediction.masks) for place in range(len(masks))]
    names = labels or [f"Target {number}" for number in range(1, len(prompts) + 1)]
    return (
        replace(
            prediction,
            masks=tuple((prediction.masks[index][place],) for index, place in places),
            regions=tuple(prediction.regions[index] for index, _ in places),
        ),
        [prompts[index] for index, _ in places],
        [f"{names[index]}, candidate {place + 1}" for index, place in places],
    )
