"""How long a queue may be: a burst may fill it, but a queue that stands is kept short.

A queue that is still there after the time in which it could have been worked off holds nobody's burst: more comes than
can be done. From then on every further place only adds waiting and no throughput, and newcomers are better refused at
once. The idea is that of controlled delay (Nichols and Jacobson, ACM Queue 10(5), 2012), applied at the entrance.
"""

from __future__ import annotations

# Times that a full queue could be worked off without a refusal: fewer come about by chance, while too much still comes.
_CALM = 5.0


class StandingQueue:
    """Watches one queue.

    Args:
        burst: Places at ordinary times.
        standing: Places while the queue stands.
    """

    def __init__(self, burst: int, standing: int) -> None:
        self._burst = burst
        self._standing = min(burst, standing)
        self._occupied_since: float | None = None
        self._short_until = float("-inf")

    def places(self, now: float, drain_s: float) -> int:
        """Returns how many may wait.

        Args:
            now: Time on any clock that does not go back, in seconds.
            drain_s: In which a full queue would be worked off.
        """
        if self._occupied_since is not None and now - self._occupied_since > drain_s:
            self._short_until = max(self._short_until, now + _CALM * drain_s)
        return self._standing if now < self._short_until else self._burst

    def refused(self, now: float, drain_s: float) -> None:
        """Notes that a newcomer was refused: a short queue stays short until nobody has been refused for a while."""
        if now < self._short_until:
            self._short_until = now + _CALM * drain_s

    def holds(self, waiting: int, now: float) -> None:
        """Notes how many wait."""
        if not waiting:
            self._occupied_since = None
        elif self._occupied_since is None:
            self._occupied_since = now
