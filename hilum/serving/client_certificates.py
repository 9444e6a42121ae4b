"""What a client certificate says of a caller: by its SPIFFE id, or by a table in the policy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hilum.errors import Unauthenticated
from hilum.serving.identity import Identity, known_roles
from hilum.serving.tenant import is_tenant_name

_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]+/tenant/(?P<tenant>[^/]+)/role/(?P<role>[^/]+)/[^?#]+")


class ClientCertificates:
    """Reads callers from the subject alternative names of certificates that the TLS layer has verified.

    A name in the table counts first. Otherwise a SPIFFE id of the form
    `spiffe://<trust domain>/tenant/<tenant>/role/<role>/<name>` says it itself.

    Args:
        names: Identities by exact alternative name: a DNS name, a URI or an address.
    """

    def __init__(self, names: Mapping[str, Identity]) -> None:
        self._names = names

    def identify(self, alternative_names: Iterable[str]) -> Identity:
        """Returns who the certificate belongs to.

        Raises:
            Unauthenticated: No name says it, or several say different things.
        """
        names = list(alternative_names)
        found = {self._names[name] for name in names if name in self._names}
        found = found or {identity for name in names if (identity := _of_spiffe_id(name)) is not None}
        if len(found) != 1:
            raise Unauthenticated(
                "the client certificate names no caller: it needs one name that the policy lists, or a SPIFFE id "
                "spiffe://DOMAIN/tenant/TENANT/role/ROLE/NAME; or send a token"
            )
        return found.pop()


def _of_spiffe_id(name: str) -> Identity | None:
    match = _SPIFFE.fullmatch(name)
    if match is None or not is_tenant_name(match["tenant"]):
        return None
    roles = known_roles([match["role"]])
    return Identity(name, match["tenant"], roles) if roles else None
