"""An overloaded service is asked again when it says, within the deadline, and not forever."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from hilum import AsyncClient, Endpoints, Image, Window
from hilum.connection import STATUS_LOST
from hilum.errors import BackendUnavailable, DeadlineExceeded, InvalidField, Overloaded
from hilum.patience import Patience
from hilum.segmentation import EncodeSuccess
from hilum.testing import FakeDecoder, FakeEncoder, FakeFusion, serve_in_process
from hilum.types import ViewRelation
from tests.contract.messages import picture

BUSY = Overloaded("busy", retry_after_s=0.01)
IMAGE = Image(picture())


class LosingFusion(FakeFusion):
    """Is lost after its first answers, as a replica behind a proxy is.

    Args:
        times: How often.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def RegisterImages(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # gRPC's name
        """Registers, when it is not lost."""
        async for event in super().RegisterImages(request, context):
            yield event
            if self.times:
                self.times -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "upstream connect error or disconnect/reset")


class LosingEncoder(FakeEncoder):
    """Is lost after each answer of a series, and twice after the headers of one image's answer.

    Args:
        status: With which a series is lost.
    """

    headers = 2

    def __init__(self, *status: Any) -> None:
        super().__init__()
        self.status = status or (grpc.StatusCode.UNAVAILABLE, "upstream connect error or disconnect/reset")

    async def EncodeImage(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        """Encodes, when it is not lost."""
        if self.headers:
            self.headers -= 1
            await context.send_initial_metadata((("server", "envoy"),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Stream removed (Socket closed)")
        return await super().EncodeImage(request, context)

    async def EncodeImages(self, items: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # gRPC's name
        """Encodes one image of the series."""
        async for answer in super().EncodeImages(items, context):
            yield answer
            await context.abort(*self.status)


async def encode(endpoints: Endpoints, **options: object) -> None:
    """Encodes an image with a client of its own."""
    async with AsyncClient(endpoints, **options) as client:  # type: ignore[arg-type]  # each test's own
        await client.encode(IMAGE, mapping=Window(60, 160))


async def test_overload_that_passes_is_not_noticed() -> None:
    """Five refusals in a row are behind the caller's back; a sixth is told, and with one attempt the first."""
    encoder = FakeEncoder()
    async with serve_in_process(encoder) as endpoints:
        encoder.fail_next(*[BUSY] * 5)
        await encode(endpoints)
        encoder.fail_next(*[BUSY] * 6)
        with pytest.raises(Overloaded):
            await encode(endpoints)
        encoder.fail_next(BUSY)
        with pytest.raises(Overloaded):
            await encode(endpoints, attempts=1)


async def test_a_delay_beyond_the_deadline_is_not_waited_for() -> None:
    """A service that asks for more time than there is refuses at once."""
    encoder = FakeEncoder()
    async with serve_in_process(encoder) as endpoints:
        encoder.fail_next(Overloaded("busy", retry_after_s=3600))
        with pytest.raises(Overloaded):
            await encode(endpoints, timeout_s=60)


async def test_other_refusals_are_final() -> None:
    """Only overload is asked again: everything else would be answered the same."""
    encoder = FakeEncoder()
    async with serve_in_process(encoder) as endpoints:
        encoder.fail_next(InvalidField("wrong"))
        with pytest.raises(InvalidField):
            await encode(endpoints)
        await encode(endpoints)


@pytest.mark.parametrize(("attempts", "answered"), [(6, True), (2, False), (1, False)])
async def test_a_registration_that_was_cut_off_is_asked_for_again(attempts: int, *, answered: bool) -> None:
    """A stream that is lost amid its answers is begun anew, as often as the client asks; gRPC itself would not."""
    fusion = LosingFusion(times=2)
    async with (
        serve_in_process(FakeEncoder(), FakeDecoder(FakeEncoder()), fusion) as endpoints,
        AsyncClient(endpoints, attempts=attempts) as client,
    ):
        fixed = Image(picture(seed=1))
        asked = client.register(fixed, fixed, view_relation=ViewRelation.COMPARABLE)
        if answered:
            assert (await asked).transform.fixed_grid.size == fixed.pixels.shape[:2]
        else:
            with pytest.raises(BackendUnavailable):
                await asked


@pytest.mark.parametrize(("attempts", "answered"), [(3, True), (2, False)])
async def test_an_answer_of_which_only_the_headers_arrived_is_asked_for_again(attempts: int, *, answered: bool) -> None:
    """A call is lost between headers and message when a proxy ends: gRPC itself does not try it again."""
    async with serve_in_process(LosingEncoder()) as endpoints:
        if answered:
            await encode(endpoints, attempts=attempts)
        else:
            with pytest.raises(BackendUnavailable):
                await encode(endpoints, attempts=attempts)


@pytest.mark.parametrize("status", [(), (grpc.StatusCode.INTERNAL, STATUS_LOST)])
async def test_a_series_that_was_cut_off_is_encoded_to_its_end(status: tuple[Any, ...]) -> None:
    """Of a series, what was unanswered when the connection was lost is asked for again, and nothing is told twice."""
    images = [Image(picture(seed=seed)) for seed in range(4)]
    async with serve_in_process(LosingEncoder(*status)) as endpoints:
        async with AsyncClient(endpoints) as client:
            outcomes = [outcome async for outcome in client.encode_many(images, mapping=Window(60, 160))]
        assert sorted(outcome.index for outcome in outcomes if isinstance(outcome, EncodeSuccess)) == [0, 1, 2, 3]
        images = [Image(picture(seed=seed)) for seed in range(4, 6)]
        async with AsyncClient(endpoints, attempts=1) as client:
            with pytest.raises(BackendUnavailable):
                _ = [outcome async for outcome in client.encode_many(images, mapping=Window(60, 160))]


def test_nothing_outlives_the_callers_deadline() -> None:
    """What is asked on behalf of a caller gets what is left of the caller's time, and nothing once it is over."""
    assert Patience(30, remaining_s=lambda: 5).limit_s() == 5
    assert Patience(30, remaining_s=lambda: 500).limit_s(2) == 60
    assert Patience(30).limit_s() == 30
    with pytest.raises(DeadlineExceeded):
        Patience(30, remaining_s=lambda: -0.1).limit_s()
