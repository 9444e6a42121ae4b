"""One guarded way to a Redis server (or any other that speaks RESP): bounded in time, never retried, with a circuit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from hilum.serving.circuit import Circuit
from hilum.serving.telemetry import CacheEvent, Telemetry

T = TypeVar("T")

_LOG_INTERVAL_S = 30.0


class RedisAway(Exception):
    """The command was not carried out.

    Attributes:
        event: Why: "circuit_open", "timeout", "full" or "error".
    """

    def __init__(self, event: CacheEvent) -> None:
        super().__init__(event)
        self.event = event


class _PasswordFile(CredentialProvider):
    """Says user and password at every connection; a password that changed is used from the next one on."""

    def __init__(self, user: str, path: Path) -> None:
        self._user = user
        self._path = path

    def get_credentials(self) -> tuple[str, str]:
        """Returns user and password; OSError where the file is gone, which counts as Redis being away."""
        return self._user, self._path.read_text(encoding="utf-8").strip()


def _without_user(url: str) -> tuple[str, str]:
    """Returns the URL without its user, and the user, "default" where it names none."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), unquote(parts.username or "default")


class RedisConnection:
    """A pool of connections with time limits and a circuit.

    Redis is an accelerator. A command that is not answered within the limit is given up, not tried again; after several
    in a row no more are sent until a probe succeeds. A full server (`noeviction`) does not open the circuit: it still
    answers reads.

    Args:
        url: Such as redis://127.0.0.1:6379/0, rediss://... or unix://...
        telemetry: Where trouble is logged, at most one line per event and half minute.
        operation_timeout_s: Limit of one command with its connection attempt, its waiting for a pooled connection, and
            its transfer.
        max_connections: Connections open at once.
        circuit: Opens after failures in a row.
        password_file: Password of the user that the URL names, read at every new connection; None for none.
        ca: Authorities of a server at rediss://, PEM; None for the machine's own.
    """

    def __init__(
        self,
        url: str,
        *,
        telemetry: Telemetry,
        operation_timeout_s: float = 0.25,
        max_connections: int = 32,
        circuit: Circuit | None = None,
        password_file: Path | None = None,
        ca: Path | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._timeout_s = operation_timeout_s
        self.circuit = circuit or Circuit()
        guarded: dict[str, Any] = {}
        if password_file is not None:
            url, user = _without_user(url)
            guarded["credential_provider"] = _PasswordFile(user, password_file)
        if ca is not None and url.startswith("rediss://"):
            guarded["ssl_ca_certs"] = str(ca)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=operation_timeout_s,
            socket_connect_timeout=operation_timeout_s,
            socket_timeout=operation_timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **guarded,
        )
        self._redis = Redis.from_pool(pool)
        self._logged_at: dict[str, float] = {}

    async def run(self, command: Callable[[Redis], Awaitable[T]], *, operation: str = "COMMAND") -> T:
        """Returns the server's answer to one command.

        Args:
            command: Sends it.
            operation: Redis' name of it, for metrics and traces.

        Raises:
            RedisAway: If there is none.
        """
        if not self.circuit.allows():
            raise RedisAway("circuit_open")
        try:
            with self._telemetry.calling("redis", operation):
                async with asyncio.timeout(self._timeout_s):
                    answer = await command(self._redis)
        except asyncio.CancelledError:
            self.circuit.abandoned()
            raise
        except OutOfMemoryError as error:
            self.circuit.succeeded()
            raise self._away("full", error) from error
        except (TimeoutError, RedisError, OSError) as error:
            self.circuit.failed()
            is_slow = isinstance(error, TimeoutError | RedisTimeoutError)
            raise self._away("timeout" if is_slow else "error", error) from error
        self.circuit.succeeded()
        return answer

    async def ping(self) -> bool:
        """Returns whether the server answers; through the circuit, so that a ping may be the probe that closes it."""
        try:
            await self.run(lambda redis: redis.ping(), operation="PING")
        except RedisAway:
            return False
        return True

    async def close(self) -> None:
        """Closes all connections."""
        await self._redis.aclose()

    def _away(self, event: CacheEvent, error: Exception) -> RedisAway:
        now = time.monotonic()
        if now - self._logged_at.get(event, -_LOG_INTERVAL_S) >= _LOG_INTERVAL_S:
            self._logged_at[event] = now
            # The type only: a RESP error may quote the command's arguments.
            self._telemetry.log.warning(
                "redis_away", reason=event, error=type(error).__name__, circuit_open=self.circuit.is_open
            )
        return RedisAway(event)
