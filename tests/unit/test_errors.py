"""Exceptions and google.rpc.Status, one mapping both ways."""

from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from hilum import errors

CLASSES = list(errors.BY_REASON.values())
words = st.text(max_size=100)


class Failed(grpc.RpcError):
    """An error as gRPC raises it: an exception and a call."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: Any = ()) -> None:
        super().__init__()
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        """The status code."""
        return self._code

    def details(self) -> str:
        """The message."""
        return self._details

    def trailing_metadata(self) -> Any:
        """The trailers."""
        return self._trailers


@given(st.sampled_from(CLASSES), words.filter(bool), words, st.none() | st.integers(1, 10**6))
def test_round_trip(kind: type[errors.HilumError], message: str, field: str, retry_ms: int | None) -> None:
    """Class, message, retry delay and, for bad requests, field arrive as they were raised."""
    raised = kind(message, field=field, retry_after_s=None if retry_ms is None else retry_ms / 1000)
    status = errors.to_status(raised)
    assert status.code == kind.code.value[0]
    arrived = errors.from_status(status)
    assert type(arrived) is kind
    if issubclass(kind, errors.InvalidArgument):
        assert (arrived.message, arrived.field) == (message, field)
    else:
        assert arrived.message == str(raised)
    if retry_ms is not None:
        assert arrived.retry_after_s == pytest.approx(retry_ms / 1000)


def test_later_is_said_with_a_time() -> None:
    """What may succeed later always says when, also where the one who raised it did not."""
    for kind in (errors.Overloaded, errors.BackendUnavailable):
        assert errors.from_status(errors.to_status(kind("busy"))).retry_after_s == errors.DEFAULT_RETRY_S
    assert errors.from_status(errors.to_status(errors.NoContent("empty"))).retry_after_s is None


def test_messages_are_cut() -> None:
    """A message that quotes too much is cut, so that the status fits into the trailers of a call."""
    error = errors.InvalidField("x" * 10_000, field="a.b")
    assert len(error.message) == errors.MAX_MESSAGE_LENGTH
    assert error.message.endswith("...")
    worst = errors.InvalidField("€" * 10_000, field="a.b", retry_after_s=1)
    assert sum(len(value) for _, value in errors.details_metadata(worst)) < 4096


def test_text_names_the_field() -> None:
    """What people read starts with the field's path."""
    assert str(errors.OutsideImage("lies outside", field="prompts[3].box")) == "prompts[3].box: lies outside"
    assert str(errors.NoContent("all padding")) == "all padding"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.FailedPrecondition),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Overloaded),
        (grpc.StatusCode.UNAVAILABLE, errors.BackendUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNKNOWN, errors.InternalError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.InternalError),
    ],
)
def test_errors_of_grpc_itself(code: grpc.StatusCode, kind: type[errors.HilumError]) -> None:
    """Without details the status code decides, and gRPC's words are kept."""
    error = errors.from_rpc_error(Failed(code, "as gRPC says"))
    assert type(error) is kind
    assert error.message == "as gRPC says"


def test_a_newer_reason_is_its_code() -> None:
    """A reason that this version does not know becomes its code's base class; another domain's is not ours."""
    status = errors.to_status(errors.NoContent("none"))
    for reason, domain in (("BRAND_NEW", errors.DOMAIN), ("NO_CONTENT", "example.org")):
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
        changed = status_pb2.Status(code=status.code, message="none", details=[info])
        assert type(errors.from_status(changed)) is errors.FailedPrecondition


@given(st.binary(max_size=60))
def test_any_trailer_is_survived(data: bytes) -> None:
    """Whatever stands where the details should be, the caller gets an exception of ours."""
    failed = Failed(grpc.StatusCode.NOT_FOUND, "gone", (("grpc-status-details-bin", data), ("other", "x")))
    assert isinstance(errors.from_rpc_error(failed), errors.HilumError)


def test_details_travel_in_the_trailer() -> None:
    """The status is found in grpc-status-details-bin, where every gRPC library looks for it."""
    raised = errors.DigestMismatch("another", field="image_digest")
    failed = Failed(grpc.StatusCode.INVALID_ARGUMENT, str(raised), errors.details_metadata(raised))
    arrived = errors.from_rpc_error(failed)
    assert isinstance(arrived, errors.DigestMismatch)
    assert arrived.field == "image_digest"


def test_every_class_is_documented_with_its_reason() -> None:
    """Reasons are unique, and every concrete class that can cross the wire has one."""
    assert len({kind.reason for kind in CLASSES}) == len(CLASSES)
    assert set(errors.BY_REASON) == errors.reason_names()
    assert all(kind.__doc__ for kind in CLASSES)
