"""Which roles may call which method: a TOML file, with policy.toml beside this module where none is given."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from hilum.errors import ConfigurationError
from hilum.serving.identity import Identity, Role, known_roles
from hilum.serving.tenant import is_tenant_name
from hilum.v1 import decoder_service_pb2, encoder_service_pb2, fusion_service_pb2

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")
ANYONE = "anyone"

_CONTRACT = (encoder_service_pb2, decoder_service_pb2, fusion_service_pb2)
_INFRASTRUCTURE = (health_pb2, reflection_pb2)


@dataclass(frozen=True)
class Policy:
    """What a policy file says.

    Attributes:
        roles: Roles that may call a method, by its path such as "/hilum.v1.EncoderService/EncodeImage".
        open_methods: Paths of methods that need no identity.
        certificates: Callers by a subject alternative name of their certificate.
    """

    roles: Mapping[str, frozenset[Role]]
    open_methods: frozenset[str]
    certificates: Mapping[str, Identity]

    @classmethod
    def load(cls, path: Path | None = None) -> Policy:
        """Reads a file, the built-in one where None.

        Raises:
            ConfigurationError: It cannot be read, a method is missing or unknown, or a role is.
        """
        path = path or DEFAULT_POLICY
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the policy {path} cannot be read: {error}") from None
        try:
            return _from_document(document)
        except ValueError as error:
            raise ConfigurationError(f"the policy {path.name}: {error}") from None


def contract_methods() -> frozenset[str]:
    """Returns the paths of all methods of hilum.v1."""
    return frozenset(_methods(_CONTRACT))


def _methods(files: tuple[Any, ...]) -> Iterator[str]:
    for file in files:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def _from_document(document: Mapping[str, Any]) -> Policy:
    unknown = set(document) - {"rpcs", "certificates"}
    if unknown:
        raise ValueError(f"there is no section {min(unknown)}")
    listed = {
        f"/{service}/{method}": _names(roles, f"{service}.{method}")
        for service, methods in _table(document.get("rpcs"), "rpcs").items()
        for method, roles in _table(methods, service).items()
    }
    contract, infrastructure = contract_methods(), frozenset(_methods(_INFRASTRUCTURE))
    # What a newer health or reflection brings is denied where it is not listed; a method of ours must be.
    missing, surplus = contract - set(listed), set(listed) - (contract | infrastructure)
    if missing or surplus:
        raise ValueError(f"{min(missing)} is not listed" if missing else f"{min(surplus)} is no method")
    open_methods = frozenset(method for method, names in listed.items() if ANYONE in names)
    if open_methods & contract:
        raise ValueError(f"{min(open_methods & contract)} cannot be open to anyone: its caller's tenant must be known")
    return Policy(
        roles={method: _roles(names - {ANYONE}, method) for method, names in listed.items()},
        open_methods=open_methods,
        certificates={
            name: _certified(name, entry) for name, entry in _table(document.get("certificates", {}), "").items()
        },
    )


def _certified(name: str, entry: Any) -> Identity:
    table = _table(entry, f"certificates.{name}")
    tenant = table.get("tenant")
    if set(table) != {"tenant", "roles"} or not isinstance(tenant, str) or not is_tenant_name(tenant):
        raise ValueError(f"certificates.{name} needs a tenant (a-z, 0-9, -) and roles, and nothing else")
    return Identity(name, tenant, _roles(_names(table["roles"], name), name))


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'certificates'} must be a table")  # noqa: TRY004  # of a file
    return value


def _names(value: Any, where: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{where} must be a list of roles")
    return frozenset(value)


def _roles(names: frozenset[str], where: str) -> frozenset[Role]:
    unknown = names - {role.value for role in Role}
    if unknown:
        raise ValueError(f"{where}: {min(unknown)} is no role")
    return known_roles(names)
