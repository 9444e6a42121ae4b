"""What the fakes have in common: failures on demand, errors as the services answer them, and the tenant."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc

from hilum.connection import PRIORITY_KEY, TENANT_KEY
from hilum.errors import HilumError, InvalidField, details_metadata

DEFAULT_TENANT = "default"

# Generic in grpc's type stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Self_ = TypeVar("Self_", bound="Fake")
Request = TypeVar("Request")
Response = TypeVar("Response")


class Fake:
    """A servicer that fails when it is told to."""

    def __init__(self) -> None:
        self._failures: deque[HilumError] = deque()

    def fail_next(self, *errors: HilumError) -> None:
        """Makes the next calls fail with these errors, one each, as a service in trouble would."""
        self._failures.extend(errors)

    def raise_failure(self) -> None:
        """Raises the next failure that was asked for, if there is one."""
        if self._failures:
            raise self._failures.popleft()


def answering(
    method: Callable[[Self_, Request, Context], Awaitable[Response]],
) -> Callable[[Self_, Request, Context], Awaitable[Response]]:
    """Lets a method raise HilumErrors; callers get google.rpc.Status."""

    @functools.wraps(method)
    async def call(self: Self_, request: Request, context: Context) -> Response:
        try:
            self.raise_failure()
            _check_priority(context)
            return await method(self, request, context)
        except HilumError as error:
            await _abort(context, error)
            raise

    return call


def streaming(
    method: Callable[[Self_, Request, Context], AsyncIterator[Response]],
) -> Callable[[Self_, Request, Context], AsyncIterator[Response]]:
    """As `answering`, for methods that answer with a stream."""

    @functools.wraps(method)
    async def call(self: Self_, request: Request, context: Context) -> AsyncIterator[Response]:
        try:
            self.raise_failure()
            _check_priority(context)
            async for response in method(self, request, context):
                yield response
        except HilumError as error:
            await _abort(context, error)

    return call


def tenant_of(context: Context) -> str:
    """Returns the tenant that the caller names, "default" where none is named."""
    for key, value in context.invocation_metadata() or ():
        if key == TENANT_KEY:
            return str(value)
    return DEFAULT_TENANT


def _check_priority(context: Context) -> None:
    named = {value for key, value in context.invocation_metadata() or () if key == PRIORITY_KEY}
    if named and named not in ({"interactive"}, {"batch"}):
        raise InvalidField("must be interactive or batch", field=PRIORITY_KEY)


async def _abort(context: Context, error: HilumError) -> None:
    await context.abort(error.code, str(error), details_metadata(error))
