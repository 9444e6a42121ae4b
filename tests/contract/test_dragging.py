"""StreamPredictMasks: the newest prompts are answered, under their number; what they replaced is counted."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hilum.errors import InvalidField
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.overload import ComputePool, Permits
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import image_pb2
from services.decoder.decoding import Decoding
from services.decoder.dragging import Dragging
from services.decoder.embeddings import Origin
from services.decoder.prompting import PromptedImage, Prompting
from tests.contract.messages import box, encode_image, picture, predict_masks
from tests.contract.refusals import refused
from tests.contract.wiring import Caller

PATIENCE_S = 30
BOXES = [box(20, 15, 50 + step, 45) for step in range(5)]


def opening(caller: Caller, **fields: Any) -> pb.StreamPredictMasksRequest:
    """Returns the first message, for an image that the encoder knows."""
    identity = caller.call("EncodeImage", encode_image(picture())).embedding_id
    return pb.StreamPredictMasksRequest(opening=predict_masks(identity, **fields))


def update(number: int, *prompts: image_pb2.Prompt) -> pb.StreamPredictMasksRequest:
    """Returns prompts in place of others."""
    return pb.StreamPredictMasksRequest(update=pb.PromptUpdate(sequence_number=number, prompts=prompts))


def streamed(caller: Caller, *messages: pb.StreamPredictMasksRequest) -> list[pb.StreamPredictMasksResponse]:
    """Returns the answers to a stream whose messages all come at once."""
    return list(caller.call("StreamPredictMasks", iter(messages)))


def test_each_answer_is_that_of_predict_masks(caller: Caller) -> None:
    """Prompts sent one after the other's answer are answered as PredictMasks would, none superseded."""
    first = opening(caller, multimask_output=True)
    answered = threading.Semaphore(1)

    def messages() -> Iterator[pb.StreamPredictMasksRequest]:
        yield first
        for number, prompt in enumerate(BOXES):
            assert answered.acquire(timeout=PATIENCE_S)
            yield update(number * 10, prompt)

    numbers = []
    for answer in caller.call("StreamPredictMasks", messages()):
        numbers.append(answer.sequence_number)
        assert answer.superseded == 0
        request = pb.PredictMasksRequest()
        request.CopyFrom(first.opening)
        request.prompts.append(BOXES[len(numbers) - 1])
        assert answer.predicted.results == caller.call("PredictMasks", request).results
        answered.release()
    assert numbers == [0, 10, 20, 30, 40]


def test_the_last_prompts_are_always_answered(caller: Caller) -> None:
    """However fast they come, answers and those that were superseded add up, and the last answer is to the last."""
    answers = streamed(caller, opening(caller), *[update(number, BOXES[number % 5]) for number in range(100)])
    numbers = [answer.sequence_number for answer in answers]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 99
    assert len(answers) + sum(answer.superseded for answer in answers) == 100


def test_a_fault_in_prompts_does_not_end_the_stream(caller: Caller) -> None:
    """A box that is none, and no prompts, are answered as errors with their path; the stream goes on."""
    answered = threading.Semaphore(1)
    wrong: list[tuple[image_pb2.Prompt, ...]] = [(box(50, 15, 20, 45),), (), (box(20, 15, 60, 45),)]
    first = opening(caller)

    def messages() -> Iterator[pb.StreamPredictMasksRequest]:
        yield first
        for number, prompts in enumerate(wrong):
            assert answered.acquire(timeout=PATIENCE_S)
            yield update(number, *prompts)

    kinds = []
    for answer in caller.call("StreamPredictMasks", messages()):
        kinds.append(answer.WhichOneof("result"))
        answered.release()
        if answer.HasField("error"):
            assert answer.error.code == 3
            assert "prompts" in answer.error.message
    assert kinds == ["error", "error", "predicted"]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "opening"),
        ([update(0, BOXES[0])], "opening"),
        (["opening", pb.StreamPredictMasksRequest()], "update"),
        (["opening", "opening"], "update"),
        (["opening", update(3, BOXES[0]), update(3, BOXES[1])], "update.sequence_number"),
        (["with prompts"], "opening.prompts"),
    ],
)
def test_the_order_of_messages_is_checked(caller: Caller, messages: list[Any], field: str) -> None:
    """An opening without prompts comes first and once, then updates with increasing numbers; else the stream ends."""
    known = {"opening": opening(caller), "with prompts": opening(caller)}
    known["with prompts"].opening.prompts.append(BOXES[0])
    asked = [known[message] if isinstance(message, str) else message for message in messages]
    refusal = refused(lambda: streamed(caller, *asked))
    assert (refusal.reason, refusal.field) == ("INVALID_FIELD", field)


def test_the_image_is_found_when_the_stream_begins(caller: Caller) -> None:
    """An id that nobody knows ends the stream as it would end PredictMasks."""
    unknown = pb.StreamPredictMasksRequest(opening=predict_masks(bytes(32)))
    assert refused(lambda: streamed(caller, unknown)).reason == "EMBEDDING_NOT_FOUND"


class Held(Prompting):
    """Answers with the prompts' number, when told; says when it is asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.worked_on: list[int] = []
        pool = ComputePool(1, 0)
        self.pool = pool
        no_images: Any = None
        decoding = Decoding(permits=Permits(1, 0), pool=pool)
        super().__init__(no_images, decoding, pool=pool, max_image_pixels=1, max_message_bytes=1)

    async def prompted(self, request: pb.PredictMasksRequest) -> PromptedImage:
        """Returns nothing that is looked at."""
        return PromptedImage(request, None, Origin.MEMORY, None, None, None)  # type: ignore[arg-type]

    async def answer(self, image: Any, prompts: Any, timings: Any) -> pb.PredictMasksResponse:
        """Waits until told."""
        self.worked_on.append(len(prompts))
        self.asked.set()
        await self.go.wait()
        return pb.PredictMasksResponse(model=str(len(prompts)))


@asynccontextmanager
async def held() -> AsyncIterator[Held]:
    """Runs one."""
    prompting = Held()
    async with asyncio.timeout(PATIENCE_S):
        yield prompting
    await prompting.pool.close()


async def test_superseded_prompts_are_never_worked_on() -> None:
    """What came while the first prompts were worked on is replaced by the newest, which says how many it replaced."""
    async with held() as prompting:
        more = asyncio.Event()

        async def messages() -> AsyncIterator[pb.StreamPredictMasksRequest]:
            yield pb.StreamPredictMasksRequest(opening=predict_masks(bytes(32)))
            yield update(1, *BOXES[:1])
            await prompting.asked.wait()
            for number in (2, 3, 4):
                yield update(number, *BOXES[:number])
            more.set()

        answers = Dragging(prompting, ByteBudget(2**20)).answers(messages())
        first = asyncio.ensure_future(anext(answers))
        await more.wait()
        prompting.go.set()
        seen = [await first, *[answer async for answer in answers]]
        assert [(answer.sequence_number, answer.superseded) for answer in seen] == [(1, 0), (4, 2)]
        assert prompting.worked_on == [1, 4]


async def test_a_stream_that_breaks_is_answered_first() -> None:
    """The newest prompts before a message out of order are answered, then the stream ends with the fault."""
    async with held() as prompting:
        prompting.go.set()

        async def messages() -> AsyncIterator[pb.StreamPredictMasksRequest]:
            yield pb.StreamPredictMasksRequest(opening=predict_masks(bytes(32)))
            yield update(5, *BOXES)
            yield update(4, *BOXES)

        answers = Dragging(prompting, ByteBudget(2**20)).answers(messages())
        assert (await anext(answers)).sequence_number == 5
        with pytest.raises(InvalidField):
            await anext(answers)
