"""The audit trail: who had images encoded, prompted, registered or purged, and who was denied.

A request never waits for it: events go into a bounded queue that a thread empties. What finds the queue full is lost:
counted (`hilum_audit_events_total{event="lost"}`) and logged. A server that drains writes what is queued first.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote

from hilum.serving.audit_message import Action, AuditedObject, AuditEvent, ObjectKind, audit_message
from hilum.serving.audit_sinks import AuditSink
from hilum.serving.telemetry import Telemetry

_ACTIONS: dict[str, Action] = {
    "EncodeImage": "C",
    "EncodeImages": "C",
    "GetEmbedding": "R",
    "PurgeEmbeddings": "D",
    "PredictMasks": "R",
    "StreamPredictMasks": "R",
    "GenerateMasks": "R",
    "RegisterImages": "C",
    "RegisterVolumes": "C",
    "EstimatePose": "C",
}
_DENIALS = {"PERMISSION_DENIED", "UNAUTHENTICATED"}
_SERVER_FAULTS = {"INTERNAL", "UNAVAILABLE", "UNKNOWN"}
# An answer that asks for pixels: the request that brings them is the event.
_NO_EVENT = "PIXELS_REQUIRED"
_MAX_OBJECTS = 64
_QUEUED = 10_000
_RETRY_S = 1.0
_LOG_INTERVAL_S = 30.0


@dataclass
class AuditRecord:
    """What is known of the RPC being handled, for the trail.

    Attributes:
        subject: Who asks; the tenant's tag as long as callers have no identity.
        objects: What it concerns, at most 64.
    """

    subject: str = "unknown"
    objects: dict[AuditedObject, None] = field(default_factory=dict)

    def concerns(self, kind: ObjectKind, *identities: bytes) -> None:
        """Notes what the RPC makes, uses or deletes."""
        for identity in identities[: _MAX_OBJECTS - len(self.objects)]:
            self.objects[AuditedObject(kind, identity.hex())] = None


_current_record: ContextVar[AuditRecord] = ContextVar("hilum_audit_record")


def audit_record() -> AuditRecord:
    """Returns the record of the RPC being handled; outside an RPC a fresh one that goes nowhere."""
    return _current_record.get(None) or AuditRecord()


@contextlib.contextmanager
def recording_audit() -> Iterator[AuditRecord]:
    """Makes a fresh record the current one inside the block."""
    record = AuditRecord()
    token = _current_record.set(record)
    try:
        yield record
    finally:
        _current_record.reset(token)


class AuditTrail:
    """Writes events to a sink, in a thread.

    Args:
        sink: Where messages go.
        telemetry: Where events are counted, and trouble is logged.
        queued: Events that wait at most.
    """

    def __init__(self, sink: AuditSink, telemetry: Telemetry, *, queued: int = _QUEUED) -> None:
        self._sink = sink
        self._telemetry = telemetry
        self._source = f"hilum-{telemetry.service}@{socket.gethostname()}"
        self._queue: queue.Queue[AuditEvent | None] = queue.Queue(queued)
        self._ending = threading.Event()
        self._logged_at = float("-inf")
        self._thread = threading.Thread(target=self._write_all, name="hilum-audit", daemon=True)
        self._thread.start()

    def rpc_ended(
        self, method: str, code: str, reason: str, *, record: AuditRecord, peer: str, request_id: str
    ) -> None:
        """Tells of an RPC that ended, where it is one that is told of; never waits.

        Args:
            method: Full name, such as "/hilum.v1.EncoderService/EncodeImage".
            code: Name of the gRPC status code.
            reason: Name of the ErrorReason, "" where there is none.
            record: What is known of it.
            peer: As gRPC names the caller, such as "ipv4:127.0.0.1:40000".
            request_id: Of the log line.
        """
        name = method.rpartition("/")[2]
        denied = code in _DENIALS
        if not denied and (name not in _ACTIONS or reason == _NO_EVENT):
            return
        event = AuditEvent(
            at=datetime.now(UTC),
            method=name,
            action="E" if denied else _ACTIONS[name],
            denied=denied,
            reason=reason or ("" if code == "OK" else code),
            server_fault=code in _SERVER_FAULTS,
            subject=record.subject,
            peer=_address(peer),
            request_id=request_id,
            objects=tuple(record.objects),
        )
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._lost(1, "queue_full")

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes what is queued, as far as that is possible in the time; what is not is counted as lost."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._ending.set()
        self._thread.join(timeout_s)
        left = self._queue.qsize() - 1 if self._thread.is_alive() else self._queue.qsize()
        if left > 0:
            self._lost(left, "ended")
        self._sink.close()

    def _write_all(self) -> None:
        while True:
            event = self._queue.get()
            if event is None:
                return
            self._write(audit_message(event, self._source))
            if self._ending.is_set() and self._queue.empty():
                return

    def _write(self, message: bytes) -> None:
        while True:
            try:
                self._sink.write(message)
            except OSError as error:
                if self._is_time_to_log():
                    self._telemetry.log.error("audit_sink_away", error=type(error).__name__)  # noqa: TRY400  # no fault of ours
                if self._ending.wait(_RETRY_S):
                    self._lost(1, "sink_away")
                    return
            else:
                self._telemetry.audit_event("written")
                return

    def _lost(self, events: int, reason: str) -> None:
        self._telemetry.audit_event("lost", events)
        if self._is_time_to_log():
            self._telemetry.log.error("audit_lost", reason=reason)

    def _is_time_to_log(self) -> bool:
        now = time.monotonic()
        if now - self._logged_at < _LOG_INTERVAL_S:
            return False
        self._logged_at = now
        return True


def _address(peer: str) -> str:
    """Returns the host of gRPC's "ipv4:host:port" or "ipv6:[host]:port"; empty for others."""
    family, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if family in {"ipv4", "ipv6"} else ""
