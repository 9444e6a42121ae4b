import pytest

from hilum.serving.purge_tag import PurgeTag
from hilum.serving.purgeable_memory import PurgeableMemory
from hilum.serving.tenant import tenant_tag

KEY = (tenant_tag("a"), bytes(32))
OTHER = (tenant_tag("a"), bytes([1]) * 32)
STUDY, IMAGE = PurgeTag(b"s" * 16), PurgeTag(b"i" * 16)
TTL_S = 60.0


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> PurgeableMemory[bytes]:
    return PurgeableMemory(100, len, ttl_s=TTL_S, clock=clock)


def test_values_expire(memory: PurgeableMemory[bytes], clock: Clock) -> None:
    """A value is not returned once it is older than the limit, whether or not anything has cleaned up."""
    memory.put(KEY, b"value", [STUDY], since=clock.now)
    clock.now += TTL_S - 1
    assert memory.get(KEY) == b"value"
    clock.now += 1
    assert KEY not in memory
    assert memory.get(KEY) is None


def test_expired_values_are_freed(memory: PurgeableMemory[bytes], clock: Clock) -> None:
    """`expire` gives their memory back, so that a full one has room again without forgetting what is fresh."""
    memory.put(KEY, b"v" * 60, [STUDY], since=clock.now)
    clock.now += TTL_S
    memory.expire()
    memory.put(OTHER, b"v" * 100, [STUDY], since=clock.now)
    assert memory.get(OTHER) is not None


def test_a_purge_takes_what_carries_the_tag_and_nothing_else(memory: PurgeableMemory[bytes], clock: Clock) -> None:
    """Values go by any of their tags; the count is of values."""
    memory.put(KEY, b"value", [IMAGE, STUDY], since=clock.now)
    memory.put(OTHER, b"value", [IMAGE], since=clock.now)
    assert memory.forget([STUDY]) == 1
    assert memory.get(KEY) is None
    assert memory.get(OTHER) == b"value"


def test_what_was_in_the_making_when_it_was_purged_is_not_kept(memory: PurgeableMemory[bytes], clock: Clock) -> None:
    """A value whose request came before the purge is refused afterwards; one of a later request is kept."""
    since = clock.now
    clock.now += 1
    memory.forget([STUDY])
    memory.put(KEY, b"value", [IMAGE, STUDY], since=since)
    memory.put(KEY, b"value", [IMAGE, STUDY], since=clock.now)
    assert memory.get(KEY) is None
    clock.now += 1
    memory.put(KEY, b"value", [IMAGE, STUDY], since=clock.now)
    assert memory.get(KEY) == b"value"


def test_clearing_refuses_everything_in_the_making(memory: PurgeableMemory[bytes], clock: Clock) -> None:
    """After a gap in what was heard, nothing that began before it is kept, tagged or not."""
    since = clock.now
    clock.now += 1
    memory.clear()
    memory.put(KEY, b"value", [STUDY], since=since)
    memory.put(OTHER, b"value", [], since=since)
    assert memory.get(KEY) is None
    assert memory.get(OTHER) is None
