"""Spans of a server where tracing is on, and nothing, at no cost, where it is off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


class Spans:
    """Makes spans through OpenTelemetry, which is an extra and loaded only with a tracer.

    Args:
        tracer: Makes them; None for none.
    """

    def __init__(self, tracer: Tracer | None) -> None:
        self.tracer = tracer

    def serving(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> AbstractContextManager[Span | None]:
        """Makes an RPC's span the current one inside the block."""
        if self.tracer is None:
            return contextlib.nullcontext()
        from hilum.serving import tracing  # noqa: PLC0415

        return tracing.serving(self.tracer, method, metadata)

    def served(
        self, span: Span | None, code: grpc.StatusCode, reason: str, facts: Mapping[str, str | int | float | bool]
    ) -> None:
        """Notes on an RPC's span, if there is one, how the RPC ended."""
        if span is not None:
            from hilum.serving import tracing  # noqa: PLC0415

            tracing.served(span, code, reason, facts)

    def calling(self, dependency: str, operation: str) -> AbstractContextManager[Mapping[str, str]]:
        """Makes a span of a call to a dependency; yields the headers that carry it there."""
        if self.tracer is None:
            return contextlib.nullcontext({})
        from hilum.serving import tracing  # noqa: PLC0415

        return tracing.calling(self.tracer, dependency, operation)
