"""Channels with a token and certificates that change, against a server that tells what it saw."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from hilum.connection import open_channel
from hilum.errors import ConfigurationError
from hilum.tls import Tls
from services.development_ca import create, issue_client, issue_server, new_authority

PATIENCE_S = 30
METHODS = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class Seen:
    """What a server saw of its callers; a request of "wait" is answered when `release` is set.

    Attributes:
        tokens: The authorization of each call.
        peers: The connection of each call.
        waiting: Set when such a request has come.
        release: Set by the test.
    """

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.peers: list[str] = []
        self.waiting, self.release = asyncio.Event(), asyncio.Event()

    async def note(self, request: bytes, context: Any) -> bytes:
        """Notes who called."""
        self.tokens += [value for key, value in context.invocation_metadata() if key == "authorization"]
        self.peers.append(context.peer())
        if request == b"wait":
            self.waiting.set()
            await self.release.wait()
        return b"answer"


def _handlers(seen: Seen) -> Any:
    async def unary(request: Any, context: Any) -> bytes:
        if isinstance(request, bytes):
            return await seen.note(request, context)
        return [await seen.note(each, context) async for each in request][-1]

    async def streaming(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield await unary(request, context)

    answering = {name: streaming if name.endswith("_stream") else unary for name in METHODS}
    return grpc.method_handlers_generic_handler("s", {name: METHODS[name](answering[name]) for name in METHODS})


@asynccontextmanager
async def serving(seen: Seen, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[str]:
    """Serves on loopback."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(seen),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.mark.parametrize("kind", METHODS)
async def test_every_kind_of_call_carries_the_token_of_the_moment(tmp_path: Path, kind: str) -> None:
    """A token in a file goes with every call, and a new one from the next call on."""
    (tmp_path / "token").write_text("first\n")
    seen = Seen()
    async with serving(seen) as address, open_channel(address, token=tmp_path / "token") as channel:
        for token in ("first", "second"):
            (tmp_path / "token").write_text(token)
            request: Any = iter([b"ask"]) if kind.startswith("stream") else b"ask"
            call = getattr(channel, kind)(f"/s/{kind}")(request, metadata=(("x-other", "kept"),))
            answers = [answer async for answer in call] if kind.endswith("_stream") else [await call]
            assert answers == [b"answer"]
        assert seen.tokens == ["Bearer first", "Bearer second"]


async def test_new_certificates_make_a_new_connection_and_cut_nothing_off(tmp_path: Path) -> None:
    """When authority and certificates change, new calls use them; a call that runs ends over its old connection."""
    folder = tmp_path / "made"
    create(folder)
    tls = Tls(folder / "ca.pem", folder / "viewer-client.pem", folder / "viewer-client-key.pem")
    certificate, key = (folder / "encoder.pem").read_bytes(), (folder / "encoder-key.pem").read_bytes()
    ca, authority, seen = (folder / "ca.pem").read_bytes(), new_authority(), Seen()
    renewed = issue_server(authority, "renewed")
    configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], ca)
    later = grpc.ssl_server_certificate_configuration(
        [(renewed.key_pem, renewed.certificate_pem)], authority.certificate_pem
    )
    served = [configuration]
    credentials = grpc.dynamic_ssl_server_credentials(
        configuration, lambda: served[0], require_client_authentication=True
    )
    async with serving(seen, credentials) as address, open_channel(address, tls=tls) as channel:
        ask: Any = channel.unary_unary("/s/unary_unary")
        running = asyncio.ensure_future(_awaited(ask(b"wait")))
        await seen.waiting.wait()
        assert await ask(b"ask") == b"answer"
        served[0] = later
        client = issue_client(authority, "viewer")
        (folder / "ca.pem").write_bytes(authority.certificate_pem)
        (folder / "viewer-client-key.pem").write_bytes(client.key_pem)
        (folder / "viewer-client.pem").write_bytes(client.certificate_pem)
        assert await ask(b"ask") == b"answer"
        assert seen.peers[0] == seen.peers[1] != seen.peers[2]
        seen.release.set()
        assert await running == b"answer"


async def _awaited(call: Any) -> Any:
    return await call


@pytest.mark.parametrize("address", ["encoder:50051", "10.1.2.3:50051", "dns:///encoder:50051", "[fe80::1]:50051"])
async def test_a_token_does_not_leave_the_machine_in_the_clear(address: str) -> None:
    """Without TLS a token goes to loopback only, unless somebody says that something else encrypts."""
    with pytest.raises(ConfigurationError, match="without encryption"):
        open_channel(address, token=lambda: "token")
    await open_channel(address, token=lambda: "token", allow_insecure=True).close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "dns:///localhost:1", "unix:/tmp/x"])
async def test_loopback_may_see_it(address: str) -> None:
    """On the machine itself a token may travel as it is."""
    await open_channel(address, token=lambda: "token").close()


@pytest.mark.parametrize("text", ["", "two tokens", "a\x00b"])
async def test_a_token_file_holds_one_token(tmp_path: Path, text: str) -> None:
    """What cannot be a token is told when the channel is opened."""
    (tmp_path / "token").write_text(text)
    with pytest.raises(ConfigurationError, match="one token"):
        open_channel("127.0.0.1:1", token=tmp_path / "token")
