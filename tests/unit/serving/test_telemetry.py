import asyncio
import contextlib
import io
import json
import logging
import urllib.request
from collections.abc import Iterator

import pytest

from hilum.errors import Overloaded
from hilum.serving.memory_cache import ByteBoundedLru
from hilum.serving.overload import Permits
from hilum.serving.telemetry import CACHE_EVENTS, Telemetry, recording_facts, rpc_facts


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Returns True."""
        return True


@pytest.fixture
def root_logging() -> Iterator[None]:
    """Restores the standard library's root logger, which the process shares."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_are_json_off_a_terminal() -> None:
    """Off a terminal every line is one JSON object with level, time and service."""
    stream = io.StringIO()
    Telemetry("encoder", stream=stream).log.info("ready", port=5)
    line = json.loads(stream.getvalue())
    assert {"event": "ready", "service": "encoder", "level": "info", "port": 5}.items() <= line.items()
    assert line["timestamp"].endswith("Z")


def test_lines_below_the_level_are_left_out() -> None:
    """The log level is kept."""
    stream = io.StringIO()
    Telemetry("encoder", log_level="warning", stream=stream).log.info("ready")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_tracebacks_hold_no_local_variables(stream: io.StringIO) -> None:
    """A traceback in the log shows where, never the values that were being worked on: those are pixels."""
    log = Telemetry("encoder", stream=stream).log

    def fail(pixels: list[int]) -> None:
        raise RuntimeError(f"no luck with {len(pixels)}")

    try:
        fail([int("9" * 9)])
    except RuntimeError:
        log.exception("server_fault")
    text = stream.getvalue()
    assert "in fail" in text
    assert "9" * 9 not in text


def test_two_servers_in_a_process_do_not_share_counts() -> None:
    """Metrics belong to a Telemetry, not to the process."""
    one, other = Telemetry("one", stream=io.StringIO()), Telemetry("other", stream=io.StringIO())
    one.encoder_ran("onnx", 3)
    assert one.value("hilum_encoder_runs_total", backend="onnx") == 3
    assert other.value("hilum_encoder_runs_total", backend="onnx") == 0


def test_cache_events_are_counted_and_noted_on_the_request() -> None:
    """Every kind of cache event is a metric and stands on the request's line."""
    telemetry = Telemetry("encoder", stream=io.StringIO())
    with recording_facts() as facts:
        for event in CACHE_EVENTS:
            telemetry.cache_event("embedding", event)
        telemetry.cache_event("embedding", "hit")
    assert facts.as_dict() == {f"embedding_{event}": 1 + (event == "hit") for event in CACHE_EVENTS}
    assert telemetry.value("hilum_cache_events_total", cache="embedding", event="hit") == 2
    assert telemetry.value("hilum_cache_events_total", cache="embedding", event="corrupt") == 1


def test_stage_timings_become_metrics() -> None:
    """A stage's milliseconds in the response, on the line and in the metrics are one number."""
    telemetry = Telemetry("encoder", stream=io.StringIO())
    telemetry.rpc_started("/s/m")
    with recording_facts() as facts:
        with rpc_facts().stage("backend"), rpc_facts().stage("cache"):
            pass
        with rpc_facts().stage("cache"):
            pass
    telemetry.rpc_finished("/s/m", code="OK", reason="", seconds=0.5, facts=facts)
    assert facts.elapsed_ms("backend") == facts.as_dict()["backend_ms"]
    observed = telemetry.value("hilum_stage_seconds_sum", method="/s/m", stage="cache")
    assert observed == pytest.approx(facts.elapsed_ms("cache") / 1000)
    assert telemetry.value("hilum_rpcs_total", method="/s/m", code="OK", reason="") == 1
    assert telemetry.value("hilum_rpcs_in_flight", method="/s/m") == 0


def test_facts_are_kept_short() -> None:
    """A long word is cut, so that nothing large reaches the log by accident."""
    with recording_facts() as facts:
        facts.add(word="x" * 10_000, count=3, flag=True)
    assert facts.as_dict() == {"word": "x" * 200, "count": 3, "flag": True}


def test_facts_outside_a_request_go_nowhere() -> None:
    """Shared code may note facts anywhere; without a request they are dropped."""
    rpc_facts().add(cache_hit=True)
    assert rpc_facts().as_dict() == {}


def test_metrics_endpoint_serves_this_registry_and_stops() -> None:
    """The endpoint serves the metrics on a free port, and is gone after close."""
    telemetry = Telemetry("encoder", stream=io.StringIO())
    telemetry.dependency_state("redis", up=True)
    port = telemetry.serve_metrics("127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        telemetry.close()
    assert 'hilum_dependency_up{dependency="redis"} 1.0' in text
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


def test_no_metrics_endpoint_without_a_port() -> None:
    """A server told not to serve metrics listens nowhere for them."""
    telemetry = Telemetry("encoder", stream=io.StringIO())
    assert telemetry.serve_metrics("127.0.0.1", None) is None
    telemetry.close()


@pytest.mark.usefixtures("root_logging")
def test_library_warnings_join_the_log() -> None:
    """What libraries log through the standard library becomes lines of this log, from warnings up."""
    stream = io.StringIO()
    Telemetry("encoder", stream=stream).adopt_standard_logging()
    logging.getLogger("grpc").warning("odd %s", "thing")
    logging.getLogger("grpc").info("chatter")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["level"]) == ("odd thing", "grpc", "warning")


def test_memory_is_read_when_metrics_are() -> None:
    """Bytes, capacity, values and evictions of a watched cache are as it is now, whatever happened in between."""
    telemetry = Telemetry("decoder", stream=io.StringIO())
    values: ByteBoundedLru[str, bytes] = ByteBoundedLru(10, len)
    telemetry.watch_memory("hot", values)
    for name in "abc":
        values.put(name, bytes(4))
    assert telemetry.value("hilum_memory_cache_bytes", cache="hot") == 8
    assert telemetry.value("hilum_memory_cache_capacity_bytes", cache="hot") == 10
    assert telemetry.value("hilum_memory_cache_values", cache="hot") == 2
    assert telemetry.value("hilum_memory_cache_evictions_total", cache="hot") == 1
    values.discard("c")
    assert telemetry.value("hilum_memory_cache_evictions_total", cache="hot") == 1


async def test_queues_show_waits_limits_and_refusals() -> None:
    """Who got a permit at once, who waited and who was refused is counted, on the waiting RPC's record too."""
    telemetry = Telemetry("decoder", stream=io.StringIO())
    permits = Permits(1, 1, name="predict", telemetry=telemetry)
    first = await permits.take()
    with recording_facts() as facts:
        waiting = asyncio.create_task(permits.take())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await permits.take()
        first.release()
        (await waiting).release()
    assert telemetry.value("hilum_permit_limit", pool="predict", state="waiting") == 1
    assert telemetry.value("hilum_refusals_total", pool="predict") == 1
    assert telemetry.value("hilum_queue_seconds_count", pool="predict") == 2
    assert float(facts.as_dict()["queue_ms"]) > 0


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "ok"), (ValueError(), "failed"), (asyncio.CancelledError(), "cancelled")]
)
def test_calls_to_dependencies_are_timed_by_outcome(error: BaseException | None, outcome: str) -> None:
    """A call to Redis or Triton is timed under what became of it, and gets no headers where tracing is off."""
    telemetry = Telemetry("encoder", stream=io.StringIO())
    with contextlib.suppress(ValueError, asyncio.CancelledError), telemetry.calling("redis", "GET") as headers:
        assert headers == {}
        if error is not None:
            raise error
    labels = {"dependency": "redis", "operation": "GET", "outcome": outcome}
    assert telemetry.value("hilum_dependency_seconds_count", **labels) == 1


def test_transforms_are_counted_by_flag() -> None:
    """A transform counts once per flag, one without flags as none."""
    telemetry = Telemetry("fusion", stream=io.StringIO())
    telemetry.transform_made(())
    telemetry.transform_made(("FOLDING", "VIEWS_DIFFER"))
    counts = [telemetry.value("hilum_transforms_total", flag=flag) for flag in ("none", "FOLDING", "VIEWS_DIFFER")]
    assert counts == [1, 1, 1]
