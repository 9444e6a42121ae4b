"""Log lines: JSON off a terminal, with the trace's id where there is one."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor


def build_logger(service: str, level: str, stream: TextIO, *, traced: bool) -> FilteringBoundLogger:
    """Returns a log.

    Args:
        service: Name on every line.
        level: Least level that is logged.
        stream: Where lines go; JSON unless it is a terminal.
        traced: Add trace_id and span_id to lines written inside a span.
    """
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if traced:
        processors.append(_add_trace_id)
    if stream.isatty():
        # The plain traceback: the default one prints local variables, and those hold pixels.
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    logger: Any = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    bound: FilteringBoundLogger = logger.bind(service=service)
    return bound


class StandardLogging(logging.Handler):
    """Passes records of the standard library's logging on."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        self._log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _add_trace_id(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    from opentelemetry import trace  # noqa: PLC0415  # an extra, loaded only where tracing is on

    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        line["trace_id"], line["span_id"] = trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
    return line
