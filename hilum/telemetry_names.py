"""The one registry of names that leave a process: metrics, spans, span attributes, log events and log keys.

Nothing is emitted under a name that does not stand here, and nothing stands here that is not emitted; a test holds
both, and docs/reference/telemetry.md shows the same tables. Values are numbers, flags, and words out of a fixed
vocabulary: never patient data, never text that a caller chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

MetricKind: TypeAlias = Literal["counter", "gauge", "histogram"]

# From a prompt decoded in memory to a volume registered on CPU, in seconds.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: In Prometheus' notation, a counter without its suffix `_total`.
        kind: What it is.
        text: What it says, with its unit.
        labels: Names of its labels.
        buckets: Upper bounds of a histogram's buckets.
    """

    name: str
    kind: MetricKind
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS_BUCKETS


RPCS = Metric("hilum_rpcs", "counter", "Finished RPCs.", ("method", "code", "reason"))
RPC_SECONDS = Metric("hilum_rpc_seconds", "histogram", "Duration of RPCs, seconds.", ("method", "code"))
STAGE_SECONDS = Metric("hilum_stage_seconds", "histogram", "Duration of an RPC's stages, seconds.", ("method", "stage"))
RPCS_IN_FLIGHT = Metric("hilum_rpcs_in_flight", "gauge", "RPCs being handled.", ("method",))
CACHE_EVENTS = Metric("hilum_cache_events", "counter", "What came of cache look-ups and stores.", ("cache", "event"))
MEMORY_CACHE_BYTES = Metric("hilum_memory_cache_bytes", "gauge", "Bytes kept in this process's memory.", ("cache",))
MEMORY_CACHE_CAPACITY = Metric(
    "hilum_memory_cache_capacity_bytes", "gauge", "Bytes that may be kept at most.", ("cache",)
)
MEMORY_CACHE_VALUES = Metric("hilum_memory_cache_values", "gauge", "Values kept in memory.", ("cache",))
MEMORY_CACHE_EVICTIONS = Metric(
    "hilum_memory_cache_evictions", "counter", "Values forgotten to make room for others.", ("cache",)
)
AUDIT_EVENTS = Metric("hilum_audit_events", "counter", "Audit events, by what became of them.", ("event",))
ENCODER_RUNS = Metric("hilum_encoder_runs", "counter", "Images that went through the encoder.", ("backend",))
BATCH_SIZE = Metric(
    "hilum_batch_size", "histogram", "Prompts in one run of the mask decoder's graph.", ("model",), BATCH_BUCKETS
)
DEPENDENCY_UP = Metric("hilum_dependency_up", "gauge", "1 if the dependency answers its ping.", ("dependency",))
DEPENDENCY_SECONDS = Metric(
    "hilum_dependency_seconds",
    "histogram",
    "Duration of calls to Redis and Triton, seconds; outcome is ok, failed or cancelled.",
    ("dependency", "operation", "outcome"),
)
PERMITS = Metric("hilum_permits", "gauge", "Pieces of work that run or wait.", ("pool", "state"))
PERMIT_LIMIT = Metric("hilum_permit_limit", "gauge", "How many may run, or wait, at most.", ("pool", "state"))
QUEUE_SECONDS = Metric("hilum_queue_seconds", "histogram", "Time until a permit was given, seconds.", ("pool",))
REFUSALS = Metric("hilum_refusals", "counter", "Pieces of work refused because the queue was full.", ("pool",))
HELD_BYTES = Metric("hilum_held_bytes", "gauge", "Bytes of requests being handled.")
TRANSFORMS = Metric(
    "hilum_transforms",
    "counter",
    "Registrations and poses, once per flag; flag is none where there is none.",
    ("flag",),
)

METRICS = (
    RPCS,
    RPC_SECONDS,
    STAGE_SECONDS,
    RPCS_IN_FLIGHT,
    CACHE_EVENTS,
    MEMORY_CACHE_BYTES,
    MEMORY_CACHE_CAPACITY,
    MEMORY_CACHE_VALUES,
    MEMORY_CACHE_EVICTIONS,
    AUDIT_EVENTS,
    ENCODER_RUNS,
    BATCH_SIZE,
    DEPENDENCY_UP,
    DEPENDENCY_SECONDS,
    PERMITS,
    PERMIT_LIMIT,
    QUEUE_SECONDS,
    REFUSALS,
    HELD_BYTES,
    TRANSFORMS,
)

# What the model inside Triton (modeling/triton_model.py) adds to Triton's own metrics.
TRITON_METRICS = (
    Metric("hilum_model_runs", "counter", "Runs of the network in Triton, one a batch.", ("model", "version")),
    Metric("hilum_model_images", "counter", "Images the network in Triton has seen.", ("model", "version")),
)

SPAN_RPC = "{service}/{method}"
SPAN_DEPENDENCY = "{dependency} {operation}"
SPANS: Mapping[str, str] = {
    SPAN_RPC: "An RPC: kind SERVER where it is handled, kind CLIENT where it is called.",
    SPAN_DEPENDENCY: "A call to Redis or Triton, such as `redis GET`; kind CLIENT.",
}

# OpenTelemetry's semantic conventions for RPC, where they have a word.
RPC_SYSTEM, RPC_SERVICE, RPC_METHOD = "rpc.system", "rpc.service", "rpc.method"
RPC_STATUS, ERROR_TYPE = "rpc.grpc.status_code", "error.type"
DEPENDENCY, OPERATION, REASON = "hilum.dependency", "hilum.operation", "hilum.reason"
# Facts of an RPC's log line that its span shows as well, as `hilum.<fact>`.
FACT_ATTRIBUTE = "hilum.{fact}"
SPAN_FACTS = (
    "backend_ms",
    "cache_hit",
    "decode_ms",
    "embedding_origin",
    "flags",
    "items",
    "joined_flight",
    "masks",
    "prompts",
    "queue_ms",
    "request_bytes",
    "response_bytes",
    "waited_for_replica",
)
SPAN_ATTRIBUTES: Mapping[str, str] = {
    RPC_SYSTEM: '"grpc".',
    RPC_SERVICE: "Full name of the service.",
    RPC_METHOD: "Name of the method.",
    RPC_STATUS: "Number of the gRPC status code.",
    ERROR_TYPE: "Name of the status code, or of an exception's class.",
    DEPENDENCY: "redis or triton.",
    OPERATION: "What it was asked to do.",
    REASON: "Name of the ErrorReason.",
    **{FACT_ATTRIBUTE.format(fact=fact): f"As the log key `{fact}`." for fact in SPAN_FACTS},
}

LOG_EVENTS: Mapping[str, str] = {
    "rpc": "The canonical line: one per RPC.",
    "ready": "The server listens.",
    "cannot_start": "The server ends at once; `error` says why.",
    "signal": "A signal asks the server to stop.",
    "parent_ended": "The launcher is gone.",
    "draining": "No new RPCs are taken.",
    "stopped": "All RPCs have ended.",
    "dependency": "A dependency answers, or does no longer.",
    "redis_away": "A command was given up; at most one line per reason and half minute.",
    "flight_lock_lost": "Another replica may compute the same value.",
    "corrupt_value": "A cached value did not verify and was treated as a miss.",
    "development_key": "Embedding ids are made with the published key, and others reach the server.",
    "file_refused": "A certificate, key or policy file is of no use; the former one stays in force.",
    "memory_cleared": "A replica could not know what was purged meanwhile, and forgot everything it had in memory.",
    "audit_sink_away": "Audit events cannot be written; they wait. At most one line per half minute.",
    "audit_lost": "Audit events were lost: too many waited, or the server ended.",
    "server_fault": "An unexpected exception, with its traceback.",
}

LOG_KEYS: Mapping[str, str] = {
    "timestamp": "ISO 8601, UTC.",
    "level": "debug, info, warning or error.",
    "event": "See the events.",
    "service": "encoder, decoder or fusion.",
    "trace_id": "Of the current trace, 32 hex digits; where tracing is on.",
    "span_id": "Of the current span, 16 hex digits.",
    "exception": "Traceback without values.",
    "logger": "Library that logged.",
    "method": "Full name of the RPC.",
    "code": "Name of the gRPC status code.",
    "reason": "Name of the ErrorReason; of `redis_away` the cache event.",
    "request_id": "From `x-request-id`, or made here.",
    "duration_ms": "Of the whole RPC.",
    "tenant": "Tag of the tenant, not its name.",
    "field": "Path of the request's field that was refused.",
    "error": "Why, in words about the server; never about what a caller sent.",
    "request_bytes": "Size of the request, or of all of a stream.",
    "response_bytes": "Size of the answers.",
    "requests": "Messages received on a stream.",
    "responses": "Messages sent on a stream.",
    "queue_ms": "Time spent waiting for permits.",
    "cache_hit": "No encoder ran.",
    "backend_ms": "Time in the image encoder.",
    "joined_flight": "Waited for another RPC of this process that worked on the same value.",
    "waited_for_replica": "Waited for another replica that worked on the same value.",
    "items": "Images answered on a stream.",
    "asked": "Digests asked for.",
    "missing": "Of them without an embedding.",
    "prompts": "Prompts of one call.",
    "masks": "Masks found.",
    "embedding_origin": "memory, cache, encoder or inline.",
    "decode_ms": "Time in the mask decoder.",
    "voxels": "Of a projected volume.",
    "flags": "Quality flags of a transform, separated by commas.",
    "register_ms": "Time of a registration.",
    "pose_ms": "Time of a pose estimation.",
    "<cache>_<event>": "How often an event of `hilum_cache_events` happened in the RPC, such as `embedding_hit`.",
    "encoder_code": "How an encoder answered that was asked for an embedding: name of the gRPC status code.",
    "superseded": "Prompts of a stream that newer ones replaced.",
    "digests": "Images that were to be purged.",
    "by_group": "Whether a group was to be purged.",
    "deleted_embeddings": "Embeddings that a purge deleted.",
    "replicas_pending": "Replicas that had not confirmed a purge when it was answered.",
    "file": "Which of the server's files it is, such as certificates or jwks; not its path.",
    "health_port": "Port that answers health checks only.",
    "address": "That is listened on.",
    "metrics_port": "Port of the Prometheus endpoint.",
    "services": "Names of the services.",
    "signal": "Name of the signal.",
    "drain_s": "How long running RPCs may go on.",
    "dependency": "redis, or an encoder's backend.",
    "up": "Whether it answers.",
    "required": "Whether the server can do without.",
    "kind": "Kind of value, such as embedding.",
    "circuit_open": "Whether Redis is being left alone.",
    "hint": "What to do.",
}
