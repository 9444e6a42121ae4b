"""Every method with every kind of caller: let in and refused exactly as the policy says."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from jwt.utils import base64url_decode

from hilum.connection import Endpoints
from hilum.errors import ConfigurationError
from hilum.serving.bundle import Bundle
from hilum.serving.identity import Identity, Role, acting_as
from hilum.serving.on_behalf import OnBehalf
from hilum.serving.policy import Policy, contract_methods
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag
from services.development_ca import (
    caller_token,
    create,
    issue_client,
    new_authority,
    private_pem,
    service_environment,
)
from services.encoder.__main__ import encoder_server
from services.encoder.settings import EncoderSettings
from services.fusion.__main__ import fusion_server
from services.fusion.settings import FusionSettings
from tests.contract.fusing import pair, registering
from tests.contract.messages import box, predict_masks
from tests.contract.securing import SecuredCaller, credentials, secured_services, settings_of, signing_key
from tests.contract.wiring import in_thread, running

METHODS = sorted(contract_methods())
POLICY = Policy.load()
NOBODY: frozenset[Role] = frozenset()
# Requests below are empty: whoever is let in hears what is wrong with them, or gets an answer.
REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
HEALTH, REFLECTION = "/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

Token = Callable[[Path], str | None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a development authority makes."""
    folder = tmp_path_factory.mktemp("secure") / "made"
    create(folder)
    return folder


@pytest.fixture(scope="module")
def mutual(sam_bundle: Bundle, folder: Path) -> Iterator[Endpoints]:
    """The services with mutual TLS."""
    with in_thread(secured_services(sam_bundle, folder)) as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def token_only(sam_bundle: Bundle, folder: Path) -> Iterator[Endpoints]:
    """The services with TLS, where callers need no certificate."""
    with in_thread(secured_services(sam_bundle, folder, tls_client_ca=None)) as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def bearer(token_only: Endpoints, folder: Path) -> Iterator[SecuredCaller]:
    """A caller without a certificate."""
    caller = SecuredCaller(token_only, credentials(folder, client=None))
    yield caller
    caller.close()


def _signed(**claims: Any) -> Token:
    return lambda folder: caller_token(signing_key(folder), "annotator", **claims)


def _without_signature(folder: Path) -> str:
    claims = jwt.decode(_signed()(folder) or "", options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none")


def _with_shared_secret(folder: Path) -> str:
    """Signs with the published key as a shared secret, as the classic confusion does."""
    (key,) = json.loads((folder / "jwks.json").read_text())["keys"]
    claims = jwt.decode(_signed()(folder) or "", options={"verify_signature": False})
    return jwt.encode(claims, base64url_decode(key["x"]), algorithm="HS256", headers={"kid": key["kid"]})


def _of_a_service(folder: Path, audience: str, key: str = "decoder-service") -> str:
    on_behalf = OnBehalf(folder / f"{key}-key.pem", "decoder")
    with acting_as(Identity("nurse", "development", frozenset({Role.ANNOTATOR}))):
        return on_behalf.token(audience)


STRANGERS: dict[str, Token] = {
    "nobody": lambda _: None,
    "nonsense": lambda _: "nonsense",
    "expired": _signed(lifetime_s=-3600),
    "not yet valid": _signed(nbf=4102444800),
    "for another audience": _signed(aud="billing"),
    "from another issuer": _signed(iss="https://elsewhere.invalid"),
    "without a tenant": _signed(tenant=None),
    "of a malformed tenant": _signed(tenant="St Mary's"),
    "with roles that are no list": _signed(roles="annotator"),
    "without an end": _signed(exp=None),
    "by another key": lambda _: caller_token(Ed25519PrivateKey.generate(), "annotator"),
    "without a signature": _without_signature,
    "with the public key as a secret": _with_shared_secret,
    "of a service, for another service": lambda folder: _of_a_service(folder, "elsewhere"),
    "of a service, by the identity provider's key": lambda folder: _of_a_service(folder, "encoder", key="jwt"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_who_is_not_known_may_call_nothing(bearer: SecuredCaller, folder: Path, kind: str) -> None:
    """Without a valid identity every method of the contract, and reflection, is UNAUTHENTICATED; health answers."""
    token = STRANGERS[kind](folder)
    answers = {method: bearer.reason(method, b"", token) for method in METHODS}
    assert answers == dict.fromkeys(METHODS, "UNAUTHENTICATED")
    assert bearer.reason(REFLECTION, b"", token) == "UNAUTHENTICATED"
    assert bearer.call(HEALTH, health_pb2.HealthCheckRequest(), token).status == health_pb2.HealthCheckResponse.SERVING


def _expected(roles: frozenset[Role]) -> dict[str, bool]:
    return {method: bool(POLICY.roles[method] & roles) for method in METHODS}


def _let_in(caller: SecuredCaller, token: str | None) -> dict[str, bool]:
    reasons = {method: caller.reason(method, b"", token) for method in METHODS}
    assert not set(reasons.values()) - {"", "INVALID_FIELD", "INVALID_TENSOR", "PERMISSION_DENIED"}, reasons
    return {method: reason != "PERMISSION_DENIED" for method, reason in reasons.items()}


@pytest.mark.parametrize("role", [*Role, None])
def test_a_token_opens_what_its_role_may_call(bearer: SecuredCaller, folder: Path, role: Role | None) -> None:
    """Each role may call exactly the methods that the policy lists it for; a role that is none of ours, nothing."""
    token = caller_token(signing_key(folder), role.value if role else "radiologist")
    assert _let_in(bearer, token) == _expected(frozenset({role}) if role else NOBODY)


@pytest.mark.parametrize("role", list(Role))
def test_a_certificate_opens_what_its_role_may_call(mutual: Endpoints, folder: Path, role: Role) -> None:
    """Without a token, the role in the client certificate's SPIFFE id counts, exactly."""
    caller = SecuredCaller(mutual, credentials(folder, f"{role.value}-client"))
    assert _let_in(caller, None) == _expected(frozenset({role}))
    caller.close()


def test_a_token_counts_before_the_certificate(mutual: Endpoints, folder: Path) -> None:
    """Behind a proxy the certificate is the proxy's: a viewer's token is not widened by it, a bad one not rescued."""
    proxy = SecuredCaller(mutual, credentials(folder, "service-client"))
    assert _let_in(proxy, (folder / "viewer.jwt").read_text()) == _expected(frozenset({Role.VIEWER}))
    expired = caller_token(signing_key(folder), "annotator", lifetime_s=-3600)
    assert {proxy.reason(method, b"", expired) for method in METHODS} == {"UNAUTHENTICATED"}
    proxy.close()


def test_a_certificate_of_the_services_names_no_caller(mutual: Endpoints, folder: Path) -> None:
    """A certificate without tenant and role, such as a server's own, opens nothing by itself."""
    caller = SecuredCaller(mutual, credentials(folder, "decoder"))
    assert {caller.reason(method, b"", None) for method in METHODS} == {"UNAUTHENTICATED"}
    caller.close()


@pytest.mark.parametrize("kind", ["no certificate", "another authority's", "no encryption"])
def test_mutual_tls_refuses_the_handshake(mutual: Endpoints, folder: Path, tmp_path: Path, kind: str) -> None:
    """With mutual TLS, who has no certificate of the authority does not even reach the services."""
    chosen: grpc.ChannelCredentials | None = credentials(folder, client=None)
    if kind == "another authority's":
        forged = issue_client(new_authority(), "annotator")
        ca = (folder / "ca.pem").read_bytes()
        chosen = grpc.ssl_channel_credentials(ca, private_pem(forged.key), forged.certificate_pem)
    caller = SecuredCaller(mutual, None if kind == "no encryption" else chosen)
    token = (folder / "annotator.jwt").read_text()
    with pytest.raises(grpc.RpcError) as caught:
        caller.call(METHODS[0], b"", token)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    caller.close()


def test_a_service_acts_on_behalf_of_its_caller(bearer: SecuredCaller, folder: Path) -> None:
    """A service's token, made for the encoder, opens there what services and its caller may call, and only there."""
    token = _of_a_service(folder, "encoder")
    at_encoder = [method for method in METHODS if "Encoder" in method]
    reasons = {method: bearer.reason(method, b"", token) for method in METHODS}
    assert {method for method, reason in reasons.items() if reason != "UNAUTHENTICATED"} == set(at_encoder)
    assert not {reasons[method] for method in at_encoder} & REFUSED


def test_a_service_that_is_not_trusted_is_not_its_caller_s_fault(sam_bundle: Bundle, folder: Path) -> None:
    """Where encoder and decoder take no services' tokens, callers of the others hear that something is down."""
    token = caller_token(signing_key(folder), "annotator")
    with in_thread(secured_services(sam_bundle, folder, service_jwks=None)) as endpoints:
        caller = SecuredCaller(endpoints, credentials(folder))
        predicting = predict_masks(b"x" * 32, box(1, 1, 9, 9))
        assert caller.reason("/hilum.v1.DecoderService/PredictMasks", predicting, token) == "BACKEND_UNAVAILABLE"
        request = registering(targets=[pair(box(20, 22, 38, 44), box(26, 18, 44, 40))])
        assert caller.reason("/hilum.v1.FusionService/RegisterImages", request, token) == "BACKEND_UNAVAILABLE"
        caller.close()


@pytest.mark.parametrize("role", list(Role))
def test_reflection_needs_an_identity(bearer: SecuredCaller, folder: Path, role: Role) -> None:
    """Reflection answers whoever the policy lists."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    assert bearer.reason(REFLECTION, request, caller_token(signing_key(folder), role.value)) == ""


def test_what_is_logged_of_callers(folder: Path, sam_bundle: Bundle) -> None:
    """A line has the tenant's tag where it is known, and the reason of a refusal; never a subject or a token."""
    stream = io.StringIO()
    settings = EncoderSettings(**settings_of(folder, "encoder"))
    server = encoder_server(settings, [sam_bundle], Telemetry("encoder", stream=stream))
    tokens = [caller_token(signing_key(folder), role, sub="Nurse Joy") for role in ("annotator", "admin")]
    with in_thread(running(server)) as address:
        caller = SecuredCaller(Endpoints(address, address, address), credentials(folder))
        for token in (*tokens, "nonsense"):
            caller.reason("/hilum.v1.EncoderService/GetEmbedding", b"", token)
        caller.close()
    lines = [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == "rpc"]
    tag = tenant_tag("development")
    seen = [(line["reason"], line.get("tenant")) for line in lines]
    assert seen == [("INVALID_FIELD", tag), ("PERMISSION_DENIED", tag), ("UNAUTHENTICATED", None)]
    assert not [word for word in ("Joy", "nonsense", *tokens) if word in stream.getvalue()]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"HILUM_POLICY": "/nowhere"}, "policy"),
        ({"HILUM_JWKS": "/nowhere"}, "key set"),
        ({"HILUM_TLS_KEY": "/nowhere"}, "/nowhere"),
        ({"HILUM_SERVICE_KEY": ""}, "HILUM_SERVICE_KEY"),
        ({"HILUM_UPSTREAM_CA": "/nowhere"}, "encoder"),
    ],
)
async def test_a_server_does_not_start_with_less_than_it_was_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    """A file that is missing keeps the server from starting, with one line that says which and nothing on the wire."""
    for name, value in {**service_environment(folder, "fusion"), **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=told) as caught:
        fusion_server(FusionSettings.load(), Telemetry("fusion", stream=io.StringIO()))
    assert "\n" not in str(caught.value)


def test_tenants_do_not_share_the_published_key(folder: Path, sam_bundle: Bundle) -> None:
    """An encoder that others reach and that tells tenants apart does not start without a secret key of its own."""
    settings = EncoderSettings(**settings_of(folder, "encoder", host="::", embedding_key_file=None))
    with pytest.raises(ConfigurationError, match="HILUM_EMBEDDING_KEY_FILE"):
        encoder_server(settings, [sam_bundle], Telemetry("encoder", stream=io.StringIO()))
