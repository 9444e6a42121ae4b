"""Every name that is emitted stands in the registry, every name of the registry is emitted, and the page shows all."""

import ast
import re
from collections.abc import Iterator

from hilum import telemetry_names as names
from hilum.serving.telemetry import CACHE_EVENTS, Telemetry
from tests.architecture.test_imports import ROOT

PAGE = ROOT / "docs" / "reference" / "telemetry.md"
LEVELS = {"debug", "info", "warning", "error", "exception"}
# Added around every line, see hilum/serving/log.py, and by the interceptor's `rpc` line; of libraries' own lines.
AROUND = {"timestamp", "level", "event", "service", "trace_id", "span_id", "exception", "logger"}
CANONICAL = {"method", "code", "reason", "request_id", "duration_ms"}
# <cache>_<event>, of Telemetry.cache_event, stands for all of them.
PATTERN = "<cache>_<event>"


def calls() -> Iterator[ast.Call]:
    """Yields every call in the servers' code."""
    for folder in ("hilum/serving", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def named(call: ast.Call) -> tuple[str, str]:
    """Returns what is called, and on what, such as ("info", "self._telemetry.log")."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr, ast.unparse(call.func.value)
    return (call.func.id, "log") if isinstance(call.func, ast.Name) and call.func.id == "log" else ("", "")


def is_log(call: ast.Call) -> bool:
    """Says whether a call writes a line under a constant event."""
    name, on = named(call)
    written = (name in LEVELS and on.rpartition(".")[2] == "log") or name == "log"
    return (
        written and bool(call.args) and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    )


def is_fact(call: ast.Call) -> bool:
    """Says whether a call notes a fact of an RPC."""
    name, on = named(call)
    return name in {"add", "count", "stage", "took"} and on.rpartition(".")[2] in {"facts", "rpc_facts()"}


def first_word(call: ast.Call) -> list[str]:
    """Returns the call's first argument, if it is a constant word."""
    first = call.args[0] if call.args else None
    return [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []


def emitted_keys() -> set[str]:
    """Returns every key that a line of a server may have."""
    keys = AROUND | CANONICAL | {PATTERN}
    for call in calls():
        if is_log(call) or (is_fact(call) and named(call)[0] == "add"):
            keys |= {keyword.arg for keyword in call.keywords if keyword.arg} - {"exc_info"}
        elif is_fact(call):
            timed = named(call)[0] in {"stage", "took"}
            keys |= {f"{word}_ms" if timed else word for word in first_word(call)}
    return keys


def test_log_keys() -> None:
    """Keys of log lines and of RPCs' facts are those of LOG_KEYS."""
    assert emitted_keys() == set(names.LOG_KEYS)


def test_log_events() -> None:
    """Events are those of LOG_EVENTS; libraries' own lines are the only others."""
    assert {word for call in calls() if is_log(call) for word in first_word(call)} == set(names.LOG_EVENTS)


def test_metrics() -> None:
    """A server's metrics are those of METRICS; only telemetry.py and memory_metrics.py make any."""
    assert {metric.name for metric in Telemetry("encoder").registry.collect()} == {m.name for m in names.METRICS}
    makers = {
        path.name
        for folder in ("hilum/serving", "services")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\b(Counter|Gauge|Histogram)(MetricFamily)?\(", path.read_text())
    }
    assert makers == {"telemetry.py", "memory_metrics.py"}


def test_span_names_and_attributes() -> None:
    """Attributes are set under constants of the registry only, and every constant is used."""
    modules = [ROOT / "hilum" / "tracing.py", ROOT / "hilum" / "serving" / "tracing.py"]
    text = "\n".join(path.read_text() for path in modules)
    assert not re.search(r"set_attribute\((?!names\.)", text)
    used = {
        getattr(names, word) for word in re.findall(r"names\.([A-Z_]+)", text) if isinstance(getattr(names, word), str)
    }
    facts = {names.FACT_ATTRIBUTE.format(fact=fact) for fact in names.SPAN_FACTS}
    assert (used - {names.FACT_ATTRIBUTE, *names.SPANS}) | facts == set(names.SPAN_ATTRIBUTES)
    assert set(names.SPANS) <= used
    assert set(names.SPAN_FACTS) <= set(names.LOG_KEYS)


def rows(section: str) -> dict[str, tuple[str, ...]]:
    """Returns a table of the page: first cell to the others."""
    body = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {first.strip("`"): tuple(others) for first, *others in cells}


def test_the_page_shows_the_registry() -> None:
    """docs/reference/telemetry.md has one row for each name, with the registry's words."""
    metrics = {
        metric.name + ("_total" if metric.kind == "counter" else ""): (
            metric.kind,
            ", ".join(metric.labels),
            metric.text,
        )
        for metric in names.METRICS
    }
    assert rows("Metrics") == metrics
    assert {event: text for event, (text,) in rows("Log events").items()} == names.LOG_EVENTS
    assert {key: text for key, (text,) in rows("Log keys").items()} == names.LOG_KEYS
    assert {name: text for name, (text,) in rows("Spans").items()} == names.SPANS
    assert {name: text for name, (text,) in rows("Span attributes").items()} == names.SPAN_ATTRIBUTES
    assert all(f"`{event}`" in PAGE.read_text() for event in CACHE_EVENTS)
