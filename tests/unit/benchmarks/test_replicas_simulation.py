from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.replica_choice import Choice, RingHash, RoundRobin
from benchmarks.replicas_simulation import Answer, Click, Replica, simulate, zipf_clicks

KIND = Replica(hot_images=2, at_once=1, hot_s=1.0, fetch_s=0.5)
NAMES = ["a", "b", "c"]
SIZE = 1024


class Busy:
    """One replica has calls in progress, and all together have more."""

    def __init__(self, replica: str, calls: int, total: int) -> None:
        self._replica, self._calls, self._total = replica, calls, total

    def of(self, replica: str) -> int:
        """Returns its calls."""
        return self._calls if replica == self._replica else 0

    def total(self) -> int:
        """Returns all calls."""
        return self._total


def run(clicks: Sequence[Click], choice: Choice, names: Sequence[str] = ("a",), kind: Replica = KIND) -> list[Answer]:
    return list(simulate(clicks, choice, kind, {0.0: names}))


def test_waiting_fetching_and_hits_by_hand() -> None:
    """A first click fetches, one that comes meanwhile waits and is no hit, a later one is a hit and fast."""
    clicks = [Click(0.0, b"x"), Click(0.2, b"x"), Click(10.0, b"x")]
    answers = run(clicks, RoundRobin(["a"]))
    assert [(answer.hot, answer.latency_s) for answer in answers] == [
        (False, 1.5),
        (False, pytest.approx(2.3)),
        (True, pytest.approx(1.0)),
    ]


def test_the_image_used_last_stays() -> None:
    """A replica that keeps two images forgets the one that was used longest ago."""
    clicks = [Click(10.0 * number, image) for number, image in enumerate([b"x", b"y", b"x", b"z", b"x", b"y"])]
    assert [answer.hot for answer in run(clicks, RoundRobin(["a"]))] == [False, False, True, False, True, False]


@given(st.lists(st.sampled_from([b"x", b"y", b"z"]), min_size=1, max_size=30))
def test_one_replica_makes_every_choice_the_same(images: list[bytes]) -> None:
    """With one replica, round robin and ring hash give the same answers."""
    clicks = [Click(float(number), image) for number, image in enumerate(images)]
    assert run(clicks, RoundRobin(["a"])) == run(clicks, RingHash(["a"], size=8))


def test_ring_hash_keeps_an_image_at_one_replica() -> None:
    """Every image has one replica, all replicas have images, and with room for all each image is fetched once."""
    clicks = zipf_clicks(60, 0.5, 1.0, 600.0, seed=0)
    answers = run(clicks, RingHash(NAMES, size=SIZE), NAMES, Replica(60, 1, 0.01, 0.01))
    homes: dict[bytes, set[str]] = {}
    for answer in answers:
        homes.setdefault(answer.click.image, set()).add(answer.replica)
    assert all(len(home) == 1 for home in homes.values())
    assert set().union(*homes.values()) == set(NAMES)
    assert sum(not answer.hot for answer in answers) == len(homes)


@pytest.mark.parametrize("count", [3, 10, 100])
def test_the_loss_of_a_replica_moves_few_images(count: int) -> None:
    """Every image of the lost replica moves, and of the others' no more than half as many and 10 % of all again."""
    names = [f"decoder-{number}" for number in range(count)]
    keys = [number.to_bytes(4, "big") for number in range(600)]
    idle = Busy("", 0, 0)
    rings = RingHash(names, size=SIZE), RingHash(names[1:], size=SIZE)
    homes = [(rings[0].pick(key, idle), rings[1].pick(key, idle)) for key in keys]
    lost = sum(old == names[0] for old, _ in homes)
    moved = sum(old != new for old, new in homes)
    assert lost <= moved <= 1.5 * lost + 0.1 * len(keys)


def test_a_busy_replica_is_passed_over() -> None:
    """With a bound, a call goes to another replica once its own has more than its share; without, it does not."""
    key = b"image"
    home = RingHash(NAMES, size=SIZE).pick(key, Busy("", 0, 0))
    bounded = RingHash(NAMES, size=SIZE, balance=2.0)
    assert bounded.pick(key, Busy(home, 1, total=5)) == home
    assert bounded.pick(key, Busy(home, 9, total=9)) != home
    assert RingHash(NAMES, size=SIZE).pick(key, Busy(home, 9, total=9)) == home


def test_new_replicas_start_cold_and_lost_ones_are_not_asked() -> None:
    """After a change only those alive answer, and one that is new fetches what it is asked for."""
    clicks = [Click(float(10 * number), b"x") for number in range(6)]
    answers = list(simulate(clicks, RoundRobin(["a"]), KIND, {0.0: ["a"], 25.0: ["b"]}))
    assert [answer.replica for answer in answers] == ["a"] * 3 + ["b"] * 3
    assert [answer.hot for answer in answers] == [False, True, True, False, True, True]


def test_popularity_follows_zipf() -> None:
    """The first image is asked for about 2 to the power of the exponent as often as the second."""
    clicks = zipf_clicks(100, 1.0, 1000.0, 20.0, seed=0)
    counts = [sum(click.image == rank.to_bytes(4, "big") for click in clicks) for rank in range(2)]
    assert counts[0] / counts[1] == pytest.approx(2.0, rel=0.1)
    assert [click.at_s for click in clicks] == sorted(click.at_s for click in clicks)
