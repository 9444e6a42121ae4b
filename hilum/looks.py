"""Prompts answered in looks at an image: one call per region, and a second look for clicks (`hilum.region`)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from hilum.bright_target import CloseUp, may_stand_out
from hilum.codec.modality import modality_to_message
from hilum.codec.predictions import masks_from_response, timings_from_message
from hilum.codec.prompts import prompt_to_message
from hilum.codec.tensors import tensor_to_message
from hilum.errors import HilumError, InvalidField
from hilum.region import Region, SecondLook, choose_region, is_click, second_counts, second_look
from hilum.types import Image, IntensityMapping, Pixels, PredictedMask, Prediction, Prompt, first_choice
from hilum.v1 import decoder_service_pb2 as pb
from hilum.view import View

_PROMPT_FIELD = re.compile(r"^prompts\[(\d+)\]")

Masks: TypeAlias = tuple[PredictedMask, ...]
# Has a request answered for a view of the image; fills in its embedding.
Ask: TypeAlias = Callable[[View, pb.PredictMasksRequest], Awaitable[pb.PredictMasksResponse]]


@dataclass(frozen=True)
class Question:
    """What is asked of one image, whatever the prompts.

    Attributes:
        image: The image.
        mapping: How values become grey levels; the image's own default where None.
        model: Name of the model; "" for the server's default.
        multimask_output: As `AsyncClient.predict`.
        three_for_clicks: Whether clicks are answered by three masks, of which the best scored is the first choice; else
            it is the single mask.
        bright_target: As `AsyncClient.predict`.
        refine_bright: As `AsyncClient.predict`.
        return_low_res_masks: As `AsyncClient.predict`.
    """

    image: Image
    mapping: IntensityMapping | None
    model: str
    multimask_output: bool | None
    three_for_clicks: bool
    bright_target: bool
    refine_bright: bool
    return_low_res_masks: bool

    def request(self, prompts: Sequence[Prompt], *, multimask: bool) -> pb.PredictMasksRequest:
        """Returns a request for masks, still without an embedding."""
        request = pb.PredictMasksRequest(
            prompts=map(prompt_to_message, prompts),
            multimask_output=multimask,
            return_low_res_masks=self.return_low_res_masks,
            modality=modality_to_message(self.image.source),
            simulated=self.image.source.simulated,
        )
        if self.refine_bright:
            request.refinement.patch.CopyFrom(tensor_to_message(_grey(self.image)))
            request.refinement.method = pb.REFINEMENT_METHOD_OTSU_BRIGHT
        return request


@dataclass(frozen=True)
class _Look:
    """A prompt, its place among all that the caller gave, and where it is looked at; None for the whole image.

    Of some looks all candidates are wanted, where one answers the prompt.
    """

    index: int
    prompt: Prompt
    region: Region | None
    candidates: bool = False


class Looks:
    """The looks at one image; `prediction` is what came of them.

    Args:
        question: What is asked.
        prompts: At least one.
        ask: Asks the services.
    """

    def __init__(self, question: Question, prompts: Sequence[Prompt], ask: Ask) -> None:
        self._question = question
        self._prompts = prompts
        self._ask = ask
        self._regions: list[Region | None] = [None] * len(prompts)
        self._masks: list[Masks] = [()] * len(prompts)
        self._responses: list[pb.PredictMasksResponse] = []

    async def at(self, region: Region | None) -> None:
        """Looks at one region, or at the whole image, for all prompts."""
        await self._keep([_Look(index, prompt, region) for index, prompt in enumerate(self._prompts)])

    async def by_rule(self, model_side: int) -> None:
        """Looks where the rule says, and at clicks again.

        Args:
            model_side: Side of the model's square input.
        """
        size, aspect = self._question.image.size, self._question.image.geometry.pixel_aspect
        await self._keep(
            [
                _Look(index, prompt, choose_region(prompt, size, model_side, aspect))
                for index, prompt in enumerate(self._prompts)
            ]
        )
        again = self._second_looks(model_side)
        looks = [_Look(index, second.prompt, second.region, self._seeks_bright) for index, second in again.items()]
        answers = await self._answers(looks)
        for look, masks in zip(looks, answers, strict=True):
            if second_counts(again[look.index].region, self._choice(self._masks[look.index]), self._choice(masks)):
                one = self._question.multimask_output is None
                self._masks[look.index] = (self._choice(masks),) if one else masks
                self._regions[look.index] = look.region
        if self._seeks_bright:
            await self._seek_bright(looks, answers)

    def prediction(self) -> Prediction:
        """Returns the masks that count."""
        one_each = self._question.multimask_output is None
        timings: dict[str, float] = {}
        for response in self._responses:
            for name, value in timings_from_message(response.timings).items():
                timings[name] = timings.get(name, 0.0) + value
        origins = (pb.EmbeddingOrigin.Name(response.timings.embedding_origin) for response in self._responses)
        first = self._responses[0]
        return Prediction(
            masks=tuple((first_choice(masks),) if one_each else masks for masks in self._masks),
            model=first.model,
            encoder_revision=first.encoder_revision,
            decoder_revision=first.decoder_revision,
            embedding_origins=tuple(origin.removeprefix("EMBEDDING_ORIGIN_").lower() for origin in origins),
            timings_ms=timings,
            source=self._question.image.source,
            regions=tuple(self._regions),
        )

    def _second_looks(self, model_side: int) -> dict[int, SecondLook]:
        """Where the clicks that have had their first look are looked at again, by their places."""
        aspect = self._question.image.geometry.pixel_aspect
        again = {}
        for index, (prompt, masks) in enumerate(zip(self._prompts, self._masks, strict=True)):
            second = second_look(prompt, self._choice(masks), model_side, aspect) if is_click(prompt) else None
            if second is not None:
                again[index] = second
        return again

    @property
    def _seeks_bright(self) -> bool:
        """Whether small bright targets are sought among the candidates of second looks."""
        question, image = self._question, self._question.image
        return question.multimask_output is None and may_stand_out(
            image.source.modality, image.pixels, announced=question.bright_target
        )

    async def _seek_bright(self, looks: Sequence[_Look], answers: Sequence[Masks]) -> None:
        """Puts small bright targets of second looks in the place of what counts.

        Where no mask of a click is one, the click is asked again, moved to what is bright beside it: there is no more
        to encode.
        """
        image = self._question.image
        moved: list[tuple[_Look, CloseUp]] = []
        for look, masks in zip(looks, answers, strict=True):
            if look.region is None:
                continue
            aspect, announced = image.geometry.pixel_aspect, self._question.bright_target
            close_up = CloseUp(image.pixels, look.region, look.prompt, aspect, announced)
            choice = self._choice(self._masks[look.index])
            number = close_up.target(masks, choice)
            if number is not None:
                self._masks[look.index], self._regions[look.index] = (masks[number],), look.region
            elif (prompt := close_up.moved(choice)) is not None:
                moved.append((replace(look, prompt=prompt), close_up))
        again = await self._answers([look for look, _ in moved])
        for (look, close_up), masks in zip(moved, again, strict=True):
            number = close_up.moved_target(masks)
            if number is not None:
                self._masks[look.index], self._regions[look.index] = (masks[number],), look.region

    def _choice(self, masks: Masks) -> PredictedMask:
        """The first choice of a click's look, however many masks were asked for."""
        # The single mask is the first of the candidates, where the model learnt clicks with it.
        return first_choice(masks) if self._question.three_for_clicks else masks[0]

    async def _keep(self, looks: Sequence[_Look]) -> None:
        self._masks = await self._answers(looks)
        self._regions = [look.region for look in looks]

    async def _answers(self, looks: Sequence[_Look]) -> list[Masks]:
        """The masks of every look; those at one region share a call."""
        answers: list[Masks] = [()] * len(looks)
        calls: dict[tuple[Region | None, bool], list[int]] = {}
        for place, look in enumerate(looks):
            calls.setdefault((look.region, self._multimask(look)), []).append(place)
        question = self._question
        for (region, multimask), places in calls.items():
            request = question.request([looks[place].prompt for place in places], multimask=multimask)
            try:
                response = await self._ask(View.of(question.image, question.mapping, question.model, region), request)
            except HilumError as error:
                raise _renumbered(error, [looks[place].index for place in places]) from None
            self._responses.append(response)
            for place, found in zip(places, masks_from_response(response), strict=True):
                answers[place] = found
        return answers

    def _multimask(self, look: _Look) -> bool:
        asked = self._question.multimask_output
        if asked is not None:
            return asked
        return look.candidates or (is_click(look.prompt) and self._question.three_for_clicks)


def _renumbered(error: HilumError, indices: Sequence[int]) -> HilumError:
    """Returns an error about a prompt of one call with the prompt's place among all that the caller gave."""

    def place(found: re.Match[str]) -> str:
        return f"prompts[{indices[int(found[1])]}]"

    # Only some errors have a field on the wire; of the others the message begins with it.
    field, message = (_PROMPT_FIELD.sub(place, text) for text in (error.field, error.message))
    return type(error)(message, field=field, retry_after_s=error.retry_after_s)


def _grey(image: Image) -> Pixels:
    if image.pixels.ndim != 2:
        raise InvalidField("refinement follows one intensity per pixel; the image has colours", field="refine_bright")
    return image.pixels
