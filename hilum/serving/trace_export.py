"""Where spans go, as the standard OTEL_* environment variables say; nowhere unless they say so."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

TRACER = "hilum"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def exporter_name(environment: Mapping[str, str]) -> str:
    """Returns "otlp", "console" or another word of OTEL_TRACES_EXPORTER; "none" where nothing asks for traces.

    OpenTelemetry's own default is otlp. Here an exporter or an endpoint must be named: services that nobody watches do
    not look for a collector.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named:
        return named
    return "otlp" if any(environment.get(name) for name in _ENDPOINTS) else "none"


def environment_tracer(service: str) -> Tracer | None:
    """Returns a tracer that exports as the environment says, None for no traces.

    Spans that wait are sent when the process ends. Sampler, batching, endpoint and TLS are read by the SDK itself.

    Args:
        service: Becomes `service.name` as "hilum-<service>" unless OTEL_SERVICE_NAME is set.
    """
    exporter = exporter_name(os.environ)
    if exporter == "none":
        return None
    try:
        provider = _provider(service, exporter)
    except ImportError:
        logging.getLogger(__name__).warning("OTEL_* asks for traces: install hilum[tracing]. Going on without.")
        return None
    except ValueError as error:
        logging.getLogger(__name__).warning("%s Going on without traces.", error)
        return None
    return provider.get_tracer(TRACER)


def _provider(service: str, exporter: str) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # an extra, loaded only where tracing is on
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SimpleSpanProcessor,
    )

    attributes = {"service.namespace": "hilum"}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = f"hilum-{service}"
    provider = TracerProvider(resource=Resource.create(attributes))
    if exporter == "otlp":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    elif exporter == "console":
        # Standard output is the log, one JSON object a line.
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
    else:
        raise ValueError(f"OTEL_TRACES_EXPORTER={exporter!r} is not known here: otlp, console or none.")
    return provider
