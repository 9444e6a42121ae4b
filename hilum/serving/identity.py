"""Who is calling: subject, tenant and roles, as the interceptor established them before the handler runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum

from hilum.serving.tenant import acting_for


class Role(Enum):
    """What a caller is; which methods that opens stands in the policy."""

    VIEWER = "viewer"
    ANNOTATOR = "annotator"
    SERVICE = "service"
    ADMIN = "admin"


@dataclass(frozen=True)
class Identity:
    """A caller.

    Attributes:
        subject: Name of the person or program; personal data, not for logs. "" where nobody authenticates callers.
        tenant: Whose data the call may reach.
        roles: What the policy is asked with; empty where nobody authenticates callers.
        service: The Hilum service that calls on the subject's behalf, such as "hilum/fusion"; "" for a direct call.
    """

    subject: str = field(repr=False)
    tenant: str
    roles: frozenset[Role] = frozenset()
    service: str = ""


_current_identity: ContextVar[Identity] = ContextVar("hilum_identity")


def known_roles(names: Iterable[object]) -> frozenset[Role]:
    """Returns the roles among some names; an identity provider's other roles mean nothing here."""
    known = {role.value: role for role in Role}
    return frozenset(known[name] for name in names if isinstance(name, str) and name in known)


def current_identity() -> Identity:
    """Returns who made the RPC being handled.

    Raises:
        LookupError: Outside an RPC.
    """
    return _current_identity.get()


@contextlib.contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Makes `identity` the current one inside the block, and its tenant the current tenant."""
    token = _current_identity.set(identity)
    try:
        with acting_for(identity.tenant):
            yield
    finally:
        _current_identity.reset(token)
