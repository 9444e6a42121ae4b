"""A bundle that looks at small targets in regions of the image, by the rule that clients follow (hilum.region)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from hilum.bright_target import CloseUp, may_stand_out
from hilum.masks import bounding_box
from hilum.region import Region, SecondLook, choose_region, is_click, second_counts, second_look
from hilum.serving.bundle import PromptKinds
from hilum.serving.calibration import ScoreCalibration
from hilum.types import Box, Point, PredictedMask, Prompt
from modeling.evaluation.in_process import BundlePredictor, slices
from modeling.evaluation.predictor import Answers, Candidates, first_choice, pixel_aspect
from modeling.sample import Sample


class CloseLooks:
    """Boxes are answered in the region that the rule chooses, clicks in two looks; both in pixels of the full image.

    Logits of a region are not fed back: the place of the next region is not known beforehand. A small bright target
    takes the place of the single mask alone: a client that asks for three candidates does not get it.

    Args:
        bundle: what answers.
        bright_target: as `hilum.AsyncClient.predict`.
    """

    def __init__(self, bundle: BundlePredictor, *, bright_target: bool = False) -> None:
        self._bundle, self._bright_target = bundle, bright_target
        self._sample: Sample | None = None

    @property
    def name(self) -> str:
        """The bundle's, that regions are used, and whether bright targets are announced."""
        return f"{self._bundle.name} (regions{', bright' * self._bright_target})"

    @property
    def kinds(self) -> PromptKinds:
        """The bundle's, without mask_input."""
        return replace(self._bundle.kinds, mask_input=False)

    @property
    def refuses(self) -> bool:
        """As the bundle."""
        return self._bundle.refuses

    @property
    def looks_closely(self) -> bool:
        """That is what it is for."""
        return True

    @property
    def calibration(self) -> Mapping[str, ScoreCalibration]:
        """None: calibrations are measured on whole images."""
        return MappingProxyType({})

    def set_image(self, sample: Sample) -> None:
        """Take an image; regions are encoded as prompts ask for them."""
        self._sample = sample
        self._bundle.set_image(sample)

    def predict(self, prompts: Sequence[Prompt], candidates: Candidates = "single") -> Answers:
        """Answer prompts one by one."""
        answers = [self._answer(prompt, candidates) for prompt in prompts]
        return Answers(*(np.concatenate([getattr(it, name) for it in answers]) for name in vars(answers[0])))

    def _answer(self, prompt: Prompt, candidates: Candidates) -> Answers:
        if self._sample is None:
            raise RuntimeError("set_image comes first")
        sample, side = self._sample, self._bundle.manifest.image_size
        if not is_click(prompt):
            return self._look(
                sample, choose_region(prompt, sample.size, side, pixel_aspect(sample)), prompt, candidates
            )
        # The first choice decides, whatever is asked for.
        found = self._look(sample, None, prompt, "four")
        look = second_look(prompt, self._choice(found), side, pixel_aspect(sample))
        if look is not None:
            second = self._look(sample, look.region, look.prompt, "four")
            if second_counts(look.region, self._choice(found), self._choice(second)):
                found = second
            bright = self._bright(sample, look, second, self._choice(found))
            found = found if bright is None else _with_single(found, bright)
        return _only(found, {"single": slice(0, 1), "three": slice(1, 4), "four": slice(0, 4)}[candidates])

    def _bright(self, sample: Sample, look: SecondLook, answers: Answers, choice: PredictedMask) -> Answers | None:
        """A small bright target among the answers of a second look, or of its moved click; None for none."""
        if not self.kinds.single_click or not may_stand_out(
            sample.modality, sample.image, announced=self._bright_target
        ):
            return None
        close_up = CloseUp(sample.image, look.region, look.prompt, pixel_aspect(sample), self._bright_target)
        number = close_up.target(_all(answers), choice)
        moved = close_up.moved(choice)
        if number is None and moved is not None:
            answers = self._look(sample, look.region, moved, "four")
            number = close_up.moved_target(_all(answers))
        return None if number is None else _only(answers, slice(number, number + 1))

    def _look(self, sample: Sample, region: Region | None, prompt: Prompt, candidates: Candidates) -> Answers:
        view = self._bundle.view(region)
        if region is None:
            return self._bundle.answer(view, [prompt], candidates)
        rows, columns = slices(region)
        found = self._bundle.answer(view, [_moved(prompt, region)], candidates)
        masks = np.zeros((*found.masks.shape[:2], *sample.size), np.bool_)
        masks[..., rows, columns] = found.masks
        return replace(found, masks=masks)

    def _choice(self, answers: Answers) -> PredictedMask:
        """Of the four masks of one prompt the model's first choice."""
        return _predicted(answers, first_choice(self._bundle.kinds, answers.scores[0]))


def _predicted(answers: Answers, number: int) -> PredictedMask:
    """One of the masks of one prompt as a client gets it."""
    mask = answers.masks[0, number]
    area = int(np.count_nonzero(mask))
    return PredictedMask(mask, mask, float(answers.scores[0, number]), 1.0, area, bounding_box(mask))


def _all(answers: Answers) -> list[PredictedMask]:
    return [_predicted(answers, number) for number in range(answers.masks.shape[1])]


def _only(answers: Answers, masks: slice) -> Answers:
    return Answers(answers.masks[:, masks], answers.scores[:, masks], answers.low_res[:, masks])


def _with_single(four: Answers, single: Answers) -> Answers:
    """Four answers to one prompt with another single mask."""
    three = _only(four, slice(1, 4))
    pairs = ((getattr(single, name), getattr(three, name)) for name in ("masks", "scores", "low_res"))
    return Answers(*(np.concatenate(pair, axis=1) for pair in pairs))


def _moved(prompt: Prompt, region: Region) -> Prompt:
    """The prompt in pixels of a region."""
    points = tuple(Point(point.x - region.x, point.y - region.y, point.foreground) for point in prompt.points)
    box = prompt.box
    if box is not None:
        box = Box(box.x_min - region.x, box.y_min - region.y, box.x_max - region.x, box.y_max - region.y)
    return replace(prompt, points=points, box=box)
