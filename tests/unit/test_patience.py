"""An overloaded service is asked again when it says, within the deadline, and not forever."""

import pytest

from hilum import AsyncClient, Endpoints, Image, Window
from hilum.errors import DeadlineExceeded, InvalidField, Overloaded
from hilum.patience import Patience
from hilum.testing import FakeEncoder, serve_in_process
from tests.contract.messages import picture

BUSY = Overloaded("busy", retry_after_s=0.01)
IMAGE = Image(picture())


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


def test_nothing_outlives_the_callers_deadline() -> None:
    """What is asked on behalf of a caller gets what is left of the caller's time, and nothing once it is over."""
    assert Patience(30, remaining_s=lambda: 5).limit_s() == 5
    assert Patience(30, remaining_s=lambda: 500).limit_s(2) == 60
    assert Patience(30).limit_s() == 30
    with pytest.raises(DeadlineExceeded):
        Patience(30, remaining_s=lambda: -0.1).limit_s()
