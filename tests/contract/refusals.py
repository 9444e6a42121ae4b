"""Errors as they stand on the wire, read without hilum.errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from hilum.v1 import error_reason_pb2
from tests.contract.wiring import Caller

# What the comments of error_reason.proto say.
CODES = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_TENSOR": grpc.StatusCode.INVALID_ARGUMENT,
    "LIMIT_EXCEEDED": grpc.StatusCode.INVALID_ARGUMENT,
    "DIGEST_MISMATCH": grpc.StatusCode.INVALID_ARGUMENT,
    "OUTSIDE_IMAGE": grpc.StatusCode.INVALID_ARGUMENT,
    "PROMPT_NOT_SUPPORTED": grpc.StatusCode.FAILED_PRECONDITION,
    "PIXELS_REQUIRED": grpc.StatusCode.NOT_FOUND,
    "EMBEDDING_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "MODEL_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "MODEL_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "BACKEND_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "FRAME_NOT_SUPPORTED": grpc.StatusCode.FAILED_PRECONDITION,
    "TRANSFORM_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "TRANSFORM_FLAGGED": grpc.StatusCode.FAILED_PRECONDITION,
    "NO_CONTENT": grpc.StatusCode.FAILED_PRECONDITION,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "INTERNAL": grpc.StatusCode.INTERNAL,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
}
_INSIDES = ("Traceback", ".py", "site-packages", "numpy", "onnxruntime", "object at 0x", "Error(")


@dataclass(frozen=True)
class Refusal:
    """One error of the contract.

    Attributes:
        reason: ErrorInfo's.
        field: Path in BadRequest, "" without one.
        retry_after_s: Delay in RetryInfo, None without one.
        message: For people.
    """

    reason: str
    field: str
    retry_after_s: float | None
    message: str


@dataclass(frozen=True)
class Case:
    """A request that is refused.

    Attributes:
        name: What is wrong with it.
        method: Name of the RPC.
        request: Makes the request; may call the services before.
        reason: Name of the ErrorReason.
        field: Path of the field at fault, "" for none.
    """

    name: str
    method: str
    request: Callable[[Caller], Any]
    reason: str
    field: str = ""


def reasons() -> set[str]:
    """Returns the names of all reasons without their prefix, from the contract's descriptor."""
    names = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    return {name.removeprefix("ERROR_REASON_") for name in names} - {"UNSPECIFIED"}


def refusal_of(status: status_pb2.Status) -> Refusal:
    """Returns the error in a status, and asserts that it keeps the contract's promises."""
    info, bad_request, retry = None, error_details_pb2.BadRequest(), None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad_request.ParseFromString(detail.value)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToMilliseconds() / 1000
    assert info is not None, f"no ErrorInfo: {status}"
    assert info.domain == "hilum"
    assert info.reason in reasons()
    assert status.code == CODES[info.reason].value[0]
    is_bad_request = CODES[info.reason] is grpc.StatusCode.INVALID_ARGUMENT
    assert len(bad_request.field_violations) == (1 if is_bad_request else 0)
    assert (retry is not None) == (info.reason in {"OVERLOADED", "BACKEND_UNAVAILABLE"})
    assert status.message
    assert not [word for word in _INSIDES if word in status.message], status.message
    field = bad_request.field_violations[0].field if is_bad_request else ""
    return Refusal(info.reason, field, retry, status.message)


def refused(call: Callable[[], Any]) -> Refusal:
    """Makes a call that must be refused, and returns how it was."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal_in(caught.value)


def refusal_in(error: Any) -> Refusal:
    """Returns how a call was refused, from the error that grpc raised."""
    details = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    assert len(details) == 1, f"{error.code()} without details: {error.details()}"
    status = status_pb2.Status.FromString(details[0])
    assert error.code().value[0] == status.code
    assert error.details() == status.message
    return refusal_of(status)
