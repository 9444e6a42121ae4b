import os
import subprocess
import sys

import pytest

from hilum.serving.trace_export import exporter_name

WITHOUT = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
# Prints what an entry point exports for one span.
SCRIPT = """
from hilum.serving.trace_export import environment_tracer
tracer = environment_tracer("decoder")
if tracer is None:
    import sys
    print("off", any(name.startswith("opentelemetry") for name in sys.modules))
else:
    tracer.start_span("redis GET").end()
"""


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "none"),
        ({"OTEL_SERVICE_NAME": "x"}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, "none"),
    ],
)
def test_traces_are_off_unless_asked_for(environment: dict[str, str], name: str) -> None:
    """Only an exporter or an endpoint turns traces on; none and OTEL_SDK_DISABLED turn them off."""
    assert exporter_name(environment) == name


def started(**environment: str) -> tuple[str, str]:
    """Returns what an entry point prints and what it complains of."""
    command = [sys.executable, "-c", SCRIPT]
    run = subprocess.run(command, env={**WITHOUT, **environment}, check=True, capture_output=True, text=True)
    return run.stdout, run.stderr


def test_off_loads_nothing() -> None:
    """Without OTEL_* nothing of OpenTelemetry is loaded."""
    assert started() == ("off False\n", "")


def test_the_service_is_named() -> None:
    """Spans come from hilum-<service>, or from OTEL_SERVICE_NAME."""
    assert '"service.name": "hilum-decoder"' in started(OTEL_TRACES_EXPORTER="console")[1]
    assert '"service.name": "here"' in started(OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="here")[1]


def test_an_unknown_exporter_costs_traces_only() -> None:
    """A word that is not known is warned of, and the service runs without traces."""
    printed, complained = started(OTEL_TRACES_EXPORTER="zipkin")
    assert printed.startswith("off")
    assert "zipkin" in complained
