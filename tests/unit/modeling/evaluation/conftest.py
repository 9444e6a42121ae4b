"""Fixtures: a drawn sample with two targets, and a predictor that needs no network."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pytest

from hilum.serving.bundle import PromptKinds
from hilum.serving.calibration import ScoreCalibration
from hilum.types import Box, Prompt
from modeling.evaluation import geometry
from modeling.evaluation.predictor import Answers, Candidates
from modeling.sample import Sample, Target, mask_target


class BoxFiller:
    """A model of three lines: fills the prompt's box, or a square of 20, 40 or 60 px around its first click."""

    name = "box-filler"
    kinds = PromptKinds(points=True, box=True, mask_input=True)
    calibration: Mapping[str, ScoreCalibration] = MappingProxyType({})

    def __init__(
        self, *, refuses: bool = False, looks_closely: bool = False, kinds: PromptKinds = kinds, name: str = name
    ) -> None:
        self.name, self.kinds, self.refuses, self.looks_closely = name, kinds, refuses, looks_closely
        self.asked: list[Prompt] = []
        self._size = (0, 0)

    def set_image(self, sample: Sample) -> None:
        self._size = sample.size

    def predict(self, prompts: Sequence[Prompt], candidates: Candidates = "single") -> Answers:
        self.asked += prompts
        sides = {"single": (20,), "three": (20, 40, 60), "four": (20, 20, 40, 60)}[candidates]
        masks = np.array([[self._mask(prompt, side) for side in sides] for prompt in prompts])
        scores = np.array([[side / 100 for side in sides] for _ in prompts])
        return Answers(masks, scores, np.zeros((*scores.shape, 4, 4), np.float32))

    def _mask(self, prompt: Prompt, side: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        if prompt.box is not None:
            return geometry.filled(prompt.box, self._size)
        if not prompt.points:
            return np.ones(self._size, np.bool_)
        return geometry.filled(geometry.square_at(prompt.points[0], side, self._size), self._size)


@pytest.fixture
def box_filler() -> BoxFiller:
    return BoxFiller()


@pytest.fixture(scope="session")
def sample() -> Sample:
    """A disc of 30 px radius in two grey levels, and a target known by its box only."""
    rows, columns = np.mgrid[:120, :160]
    disc = (rows - 50) ** 2 + (columns - 60) ** 2 <= 30**2
    image = np.where(disc, 180, 60).astype(np.uint8)
    boxed = Target("kidney stone", None, Box(119.5, 79.5, 131.5, 89.5))
    return Sample("drawn", image, (mask_target("disc", disc), boxed), "drawings", "CT", "nobody", spacing_mm=(0.5, 0.5))
