"""Who is let in, without a network; tests/contract/test_access.py has one."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import PermissionDenied, Unauthenticated
from hilum.serving.admission import AccessControl, Admission, TrustedNetwork, admission_from
from hilum.serving.identity import Identity, Role
from hilum.serving.settings import ServiceSettings
from hilum.serving.telemetry import Telemetry
from services.development_ca import create, service_environment

ENCODE, CHECK = "/hilum.v1.EncoderService/EncodeImage", "/grpc.health.v1.Health/Check"
SPIFFE_ID = "spiffe://hilum.invalid/tenant/st-mary/role/annotator/x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secure") / "made"
    create(folder)
    return folder


@pytest.fixture(scope="module")
def access(folder: Path) -> Admission:
    """What a secured encoder asks."""
    return _admission(folder)


def _admission(folder: Path, **changed: Any) -> Admission:
    environment = service_environment(folder, "encoder").items()
    settings: dict[str, Any] = {name.removeprefix("HILUM_").lower(): value for name, value in environment}
    return admission_from(ServiceSettings(**settings | changed), Telemetry("encoder", stream=io.StringIO()))


def _bearer(folder: Path, role: str) -> str:
    return f"Bearer {(folder / f'{role}.jwt').read_text()}"


@given(header=st.one_of(st.text(), st.binary(), st.text().map(lambda text: f"Bearer {text}")))
def test_no_header_is_a_fault_of_the_server(access: Admission, header: str | bytes) -> None:
    """Whatever stands in the header, who is not known is told so, and nothing else is raised."""
    with pytest.raises(Unauthenticated):
        access.identify(ENCODE, [("authorization", header)], {})


def test_a_header_that_nests_without_end_is_refused(access: Admission) -> None:
    """A token's header may be as deep as metadata is long."""
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 6000 + b"]" * 6000 + b"}").decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        access.identify(ENCODE, [("authorization", f"Bearer {deep}.e30.e30")], {})


def test_several_headers_are_refused(access: Admission, folder: Path) -> None:
    """Two authorizations are refused, never chosen from, even when both are good."""
    headers = [("authorization", _bearer(folder, "viewer"))] * 2
    with pytest.raises(Unauthenticated, match="one authorization"):
        access.identify(ENCODE, headers, {})


def test_the_scheme_is_read_as_http_reads_it(access: Admission, folder: Path) -> None:
    """The word bearer may be written in any case; other schemes are none of ours."""
    token = _bearer(folder, "viewer").removeprefix("Bearer ")
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert access.identify(ENCODE, [("authorization", f"{scheme} {token}")], {})
    for header in (token, f"Basic {token}"):
        with pytest.raises(Unauthenticated):
            access.identify(ENCODE, [("authorization", header)], {})


def test_without_a_key_set_no_token_is_taken(folder: Path) -> None:
    """Where only certificates count, a token is refused, and so is one of a service where none is trusted."""
    certificates_only = _admission(folder, jwks=None, service_jwks=None)
    with pytest.raises(Unauthenticated, match="not taken here"):
        certificates_only.identify(ENCODE, [("authorization", _bearer(folder, "viewer"))], {})
    peer = {"x509_common_name": [b"x"], "x509_subject_alternative_name": [SPIFFE_ID.encode()]}
    assert certificates_only.identify(ENCODE, [], peer) == Identity(SPIFFE_ID, "st-mary", frozenset({Role.ANNOTATOR}))


def test_a_method_that_the_policy_does_not_name_is_denied(access: Admission) -> None:
    """What a newer version of reflection or health brings is open to nobody."""
    everybody = Identity("x", "a", frozenset(Role))
    with pytest.raises(PermissionDenied, match="none"):
        access.authorise("/grpc.health.v1.Health/List", everybody)


def test_health_needs_nobody(access: Admission) -> None:
    """A probe is not even looked at, with whatever token."""
    assert access.identify(CHECK, [("authorization", "nonsense")], {}) is None


@pytest.mark.parametrize(
    ("source", "kind"), [("default", TrustedNetwork), ("metadata", TrustedNetwork), ("identity", AccessControl)]
)
def test_the_settings_choose(folder: Path, source: str, kind: type[Admission]) -> None:
    """HILUM_TENANT_SOURCE decides who says for whom a call is made."""
    assert isinstance(_admission(folder, tenant_source=source), kind)
