"""A burst may fill a queue; a queue that stands is kept short until nobody is refused any more."""

from hilum.serving.standing_queue import StandingQueue

DRAIN_S = 1.0


def test_a_burst_may_fill_it() -> None:
    """A queue that came up a moment ago, and one that empties in between, has all its places."""
    queue = StandingQueue(burst=32, standing=2)
    for second in range(10):
        queue.holds(20, second)
        assert queue.places(second + 0.9, DRAIN_S) == 32
        queue.holds(0, second + 0.95)


def test_a_standing_queue_is_short_until_nobody_is_refused() -> None:
    """Once it outlived the time to work it off it is short; being empty for a moment does not end that, calm does."""
    queue = StandingQueue(burst=32, standing=2)
    queue.holds(5, 0.0)
    assert queue.places(1.1, DRAIN_S) == 2
    queue.holds(0, 1.2)
    queue.refused(1.9, DRAIN_S)
    assert queue.places(6.8, DRAIN_S) == 2
    assert queue.places(7.0, DRAIN_S) == 32


def test_refusals_of_a_full_burst_do_not_shorten_it() -> None:
    """A newcomer that finds a burst's queue full says nothing of standing."""
    queue = StandingQueue(burst=4, standing=2)
    queue.holds(4, 0.0)
    queue.refused(0.1, DRAIN_S)
    assert queue.places(0.2, DRAIN_S) == 4
