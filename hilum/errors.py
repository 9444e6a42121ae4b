"""Everything that can go wrong, as exceptions, and their one mapping to and from gRPC.

The tree::

    HilumError
    ├── InvalidArgument            the request is wrong; `field` names where
    │   ├── InvalidField
    │   ├── InvalidTensor
    │   ├── LimitExceeded
    │   ├── DigestMismatch
    │   └── OutsideImage
    ├── NotFound
    │   ├── PixelsRequired         send the pixels
    │   ├── EmbeddingNotFound      encode again
    │   ├── ModelNotFound
    │   └── TransformNotFound
    ├── FailedPrecondition
    │   ├── PromptNotSupported
    │   ├── ModelMismatch
    │   ├── FrameNotSupported
    │   ├── TransformFlagged
    │   └── NoContent
    ├── Unavailable                try again later
    │   ├── Overloaded
    │   └── BackendUnavailable
    ├── Unauthenticated            who is calling?
    ├── PermissionDenied           known, and not allowed to
    ├── DeadlineExceeded
    ├── InternalError
    ├── UnreadableImage            a file could not be read (client side only)
    ├── BundleError                a model bundle is missing or damaged (server side only)
    └── ConfigurationError         a certificate, key, token file or policy cannot be used (never sent)

Every class but the last three stands for one `hilum.v1.ErrorReason` and one gRPC status code. Messages say what to do
next and never hold pixels or patient data.
"""

from __future__ import annotations

from typing import ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from hilum.v1 import error_reason_pb2

DOMAIN = "hilum"
# Messages travel in HTTP/2 trailers, three times over and percent-encoded, and gRPC drops trailers beyond 8 KiB.
MAX_MESSAGE_LENGTH = 400
DEFAULT_RETRY_S = 1.0
_REASON_PREFIX = "ERROR_REASON_"
_DETAILS_KEY = "grpc-status-details-bin"
_PUSHBACK_KEY = "grpc-retry-pushback-ms"


class HilumError(Exception):
    """Base of all errors of this library and its services.

    Attributes:
        message: What happened and what to do next; cut at 400 characters.
        field: Path of the request field at fault, such as ``prompts[3].box``; empty when no field is.
        retry_after_s: When trying again makes sense, in seconds; None when it does not.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", retry_after_s: float | None = None) -> None:
        if len(message) > MAX_MESSAGE_LENGTH:
            message = f"{message[: MAX_MESSAGE_LENGTH - 3]}..."
        super().__init__(f"{field}: {message}" if field else message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgument(HilumError):
    """The request is wrong in itself."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_FIELD"


class InvalidField(InvalidArgument):
    """A field is missing, unspecified or out of its range."""


class InvalidTensor(InvalidArgument):
    """Shape, data type and length disagree, are not accepted here, or values are not finite."""

    reason = "INVALID_TENSOR"


class LimitExceeded(InvalidArgument):
    """More pixels, voxels, prompts or items than the server accepts."""

    reason = "LIMIT_EXCEEDED"


class DigestMismatch(InvalidArgument):
    """The pixels do not have the digest that was sent with them."""

    reason = "DIGEST_MISMATCH"


class OutsideImage(InvalidArgument):
    """A point or box lies outside the image, or a placement outside its full image."""

    reason = "OUTSIDE_IMAGE"


class NotFound(HilumError):
    """Something named by the request is not known."""

    code = grpc.StatusCode.NOT_FOUND


class PixelsRequired(NotFound):
    """No embedding is known for the digest: send the pixels."""

    reason = "PIXELS_REQUIRED"


class EmbeddingNotFound(NotFound):
    """No embedding is known under the id: encode the image again."""

    reason = "EMBEDDING_NOT_FOUND"


class ModelNotFound(NotFound):
    """The model or decoder revision is not served here."""

    reason = "MODEL_NOT_FOUND"


class TransformNotFound(NotFound):
    """No transform is known under the id."""

    reason = "TRANSFORM_NOT_FOUND"


class FailedPrecondition(HilumError):
    """The request is well formed but cannot be answered as things are."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class PromptNotSupported(FailedPrecondition):
    """The model was not trained on this kind of prompt."""

    reason = "PROMPT_NOT_SUPPORTED"


class ModelMismatch(FailedPrecondition):
    """The embedding comes from another encoder than the decoder was trained with."""

    reason = "MODEL_MISMATCH"


class FrameNotSupported(FailedPrecondition):
    """The image's frame does not allow what was asked."""

    reason = "FRAME_NOT_SUPPORTED"


class TransformFlagged(FailedPrecondition):
    """The transform carries a quality flag that was not accepted by name."""

    reason = "TRANSFORM_FLAGGED"


class NoContent(FailedPrecondition):
    """An image or target is empty or constant, so that nothing can be aligned."""

    reason = "NO_CONTENT"


class Unavailable(HilumError):
    """Not now; the same request may succeed later."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "BACKEND_UNAVAILABLE"


class Overloaded(Unavailable):
    """No permit is free."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class BackendUnavailable(Unavailable):
    """Something that the request needs does not answer."""


class Unauthenticated(HilumError):
    """Nobody vouches for the caller: no token or certificate, or one that is not valid here and now."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class PermissionDenied(HilumError):
    """The caller is known, and none of its roles allows the call."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class DeadlineExceeded(HilumError):
    """The caller's deadline passed before the work was done."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class InternalError(HilumError):
    """A fault of the server; its log has the details."""


class UnreadableImage(HilumError):
    """A file could not be read as an image; the message names the reason."""


class BundleError(HilumError):
    """A model bundle is missing, damaged or of the wrong kind."""


class ConfigurationError(HilumError):
    """A certificate, key, token file or policy that a server or a client was given cannot be used."""


BY_REASON: dict[str, type[HilumError]] = {
    error.reason: error
    for error in (
        InvalidField,
        InvalidTensor,
        LimitExceeded,
        DigestMismatch,
        OutsideImage,
        PixelsRequired,
        EmbeddingNotFound,
        ModelNotFound,
        TransformNotFound,
        PromptNotSupported,
        ModelMismatch,
        FrameNotSupported,
        TransformFlagged,
        NoContent,
        Overloaded,
        BackendUnavailable,
        Unauthenticated,
        PermissionDenied,
        DeadlineExceeded,
        InternalError,
    )
}

_BY_CODE: dict[grpc.StatusCode, type[HilumError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: BackendUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    # By a server that drains; a caller's own cancelling is no RpcError.
    grpc.StatusCode.CANCELLED: BackendUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def to_status(error: HilumError) -> status_pb2.Status:
    """Returns google.rpc.Status with ErrorInfo, and BadRequest or RetryInfo where they apply."""
    details: list[any_pb2.Any] = []

    def pack(
        detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
    ) -> None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        details.append(packed)

    pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if isinstance(error, InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        pack(error_details_pb2.BadRequest(field_violations=[violation]))
    retry_after_s = error.retry_after_s
    if retry_after_s is None and isinstance(error, Unavailable):
        retry_after_s = DEFAULT_RETRY_S
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(retry_after_s * 1000))
        pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=error.code.value[0], message=str(error), details=details)


def from_status(status: status_pb2.Status) -> HilumError:
    """Returns the exception that `to_status` was given; unknown reasons become the code's base class."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    message, field, retry_after_s = status.message, "", None
    for detail in status.details:
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR) and detail.Unpack(bad_request):
            for violation in bad_request.field_violations[:1]:
                message, field = violation.description, violation.field
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) and detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
    known = BY_REASON.get(info.reason) if info.domain == DOMAIN else None
    code = next((code for code in grpc.StatusCode if code.value[0] == status.code), grpc.StatusCode.UNKNOWN)
    return (known or _BY_CODE.get(code, InternalError))(message, field=field, retry_after_s=retry_after_s)


def from_rpc_error(error: grpc.RpcError) -> HilumError:
    """Returns the exception behind a failed call, whether a Hilum service or gRPC itself raised it."""
    call: grpc.Call = error  # type: ignore[assignment]  # grpc raises objects that are both
    status = status_pb2.Status(code=call.code().value[0], message=call.details() or "")
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                continue
    return from_status(status)


def details_metadata(error: HilumError) -> tuple[tuple[str, str | bytes], ...]:
    """Returns the trailing metadata that carries google.rpc.Status, and of overload gRPC's own push-back.

    Push-back (gRFC A6) tells clients of any language, whose retry policy names RESOURCE_EXHAUSTED, when to come back.
    """
    details = (_DETAILS_KEY, to_status(error).SerializeToString())
    if not isinstance(error, Overloaded):
        return (details,)
    delay_s = DEFAULT_RETRY_S if error.retry_after_s is None else error.retry_after_s
    return (details, (_PUSHBACK_KEY, str(round(delay_s * 1000))))


def reason_names() -> frozenset[str]:
    """Returns the names of all reasons in the contract, without their prefix."""
    names = error_reason_pb2.ErrorReason.keys()
    return frozenset(name.removeprefix(_REASON_PREFIX) for name in names) - {"UNSPECIFIED"}
