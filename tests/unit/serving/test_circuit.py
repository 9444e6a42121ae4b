from dataclasses import dataclass

import pytest

from hilum.serving.circuit import Circuit


@dataclass
class Clock:
    """Time that the test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at 0."""
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    """A circuit that opens at the third failure, for 10 s."""
    return Circuit(failures=3, open_s=10, clock=clock)


def _fail(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        assert circuit.allows()
        circuit.failed()


def test_failures_in_a_row_open_it(circuit: Circuit) -> None:
    """The circuit opens at the given number of consecutive failures, not before."""
    _fail(circuit, 2)
    assert not circuit.is_open
    _fail(circuit, 1)
    assert circuit.is_open
    assert not circuit.allows()


def test_a_success_starts_the_count_again(circuit: Circuit) -> None:
    """Failures with successes between them do not open the circuit."""
    for _ in range(5):
        _fail(circuit, 2)
        assert circuit.allows()
        circuit.succeeded()
    assert not circuit.is_open


def test_one_probe_at_a_time(circuit: Circuit, clock: Clock) -> None:
    """After the pause exactly one call passes until its outcome is known; success closes the circuit."""
    _fail(circuit, 3)
    clock.now = 9.9
    assert not circuit.allows()
    clock.now = 10
    assert circuit.allows()
    assert not circuit.allows()
    circuit.succeeded()
    assert circuit.allows()
    assert circuit.allows()


def test_a_failed_probe_opens_it_for_another_pause(circuit: Circuit, clock: Clock) -> None:
    """One failed probe is enough to stay open, for the whole pause from then on."""
    _fail(circuit, 3)
    clock.now = 10
    assert circuit.allows()
    circuit.failed()
    clock.now = 19.9
    assert not circuit.allows()
    clock.now = 20
    assert circuit.allows()


def test_an_abandoned_probe_lets_another_try(circuit: Circuit, clock: Clock) -> None:
    """A probe whose caller went away must not keep the circuit open for ever."""
    _fail(circuit, 3)
    clock.now = 10
    assert circuit.allows()
    circuit.abandoned()
    assert circuit.allows()


def test_it_needs_a_positive_number_of_failures() -> None:
    """A circuit that opens after nothing is refused."""
    with pytest.raises(ValueError, match="at least 1"):
        Circuit(failures=0)
