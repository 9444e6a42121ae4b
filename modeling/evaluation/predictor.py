"""What is evaluated: anything that answers prompts on an image with masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.serving.bundle import PromptKinds
from hilum.serving.calibration import ScoreCalibration
from hilum.types import Prompt
from modeling.sample import Sample

Candidates: TypeAlias = Literal["single", "three", "four"]


@dataclass(frozen=True, eq=False)
class Answers:
    """Masks for n prompts, k candidates each: the single mask, the three of multimask output, or all four.

    Attributes:
        masks: (n, k, height, width) bool, of the image.
        scores: (n, k) float64, the model's own estimate of each mask's IoU.
        low_res: (n, k, side, side) float32 logits, to be fed back as mask_input.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float64]
    low_res: NDArray[np.float32]

    def of(self, prompt: int) -> "Answers":
        """The answers to one prompt, n = 1."""
        only = slice(prompt, prompt + 1)
        return Answers(self.masks[only], self.scores[only], self.low_res[only])


def first_choice(kinds: PromptKinds, scores: NDArray[np.float64]) -> int:
    """Which of one click's four masks, by their scores (4,), is the model's answer; see `PromptKinds.single_click`."""
    return 0 if kinds.single_click else 1 + int(scores[1:].argmax())


class Predictor(Protocol):
    """A model under evaluation.

    Prompts that `kinds` does not allow may be answered all the same; the answer then says little.
    """

    @property
    def name(self) -> str:
        """As tables show it."""

    @property
    def kinds(self) -> PromptKinds:
        """The prompts it was trained on."""

    @property
    def refuses(self) -> bool:
        """Whether other prompts raise, as running services do, instead of giving a poor mask."""

    @property
    def looks_closely(self) -> bool:
        """Whether it encodes regions of the image, at a cost: only some protocols ask it."""

    @property
    def calibration(self) -> Mapping[str, ScoreCalibration]:
        """What its score is worth, by modality; empty where that is not known."""

    def set_image(self, sample: Sample) -> None:
        """Take an image; prompts that follow are about it."""

    def predict(self, prompts: Sequence[Prompt], candidates: Candidates = "single") -> Answers:
        """Answer at least one prompt, each on its own; "four" is the single mask, then the three.

        Of the three one may be the single mask again (hilum.serving.candidates).

        Raises:
            PromptNotSupported: only where `refuses`.
        """


def pixel_aspect(sample: Sample) -> float:
    """Height of a pixel divided by its width; 1 where the spacing is unknown."""
    return 1.0 if sample.spacing_mm is None else sample.spacing_mm[1] / sample.spacing_mm[0]
