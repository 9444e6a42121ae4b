import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hilum.errors import ConfigurationError, Unauthenticated
from hilum.serving.identity import Identity, Role, acting_as
from hilum.serving.key_set import KeySet
from hilum.serving.on_behalf import LIFETIME_S, OnBehalf
from hilum.serving.tokens import LEEWAY_S, ServiceTokens, SignedToken
from services.development_ca import key_set, private_pem

NURSE = Identity("nurse", "st-mary", frozenset({Role.VIEWER}))


@pytest.fixture
def key(tmp_path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(private_pem(key))
    (tmp_path / "jwks").write_bytes(key_set(key))
    return key


def test_the_caller_arrives_as_who_it_is(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    """Subject, tenant and roles pass unchanged, with the role of a service and the service's name added."""
    with acting_as(NURSE):
        token = OnBehalf(tmp_path / "key.pem", "fusion").token("decoder")
    found = ServiceTokens(KeySet(tmp_path / "jwks"), audience="hilum/decoder").identify(SignedToken.parse(token))
    assert found == Identity("nurse", "st-mary", frozenset({Role.VIEWER, Role.SERVICE}), "hilum/fusion")


def test_it_is_for_one_service_and_one_minute(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    """Another service refuses it, and it ends a minute after it was made."""
    with acting_as(NURSE):
        token = OnBehalf(tmp_path / "key.pem", "fusion").token("decoder")
    with pytest.raises(Unauthenticated, match="somebody else"):
        ServiceTokens(KeySet(tmp_path / "jwks"), audience="hilum/encoder").identify(SignedToken.parse(token))
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == LIFETIME_S == 60
    past = {**claims, "exp": int(time.time()) - LEEWAY_S - 1}
    with pytest.raises(Unauthenticated, match="expired"):
        ServiceTokens(KeySet(tmp_path / "jwks"), audience="hilum/decoder").identify(
            SignedToken.parse(jwt.encode(past, key, algorithm="EdDSA"))
        )


def test_outside_a_call_there_is_nobody_to_act_for(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    """Without a caller no token is made: it would be somebody's by accident."""
    with pytest.raises(LookupError):
        OnBehalf(tmp_path / "key.pem", "fusion").token("decoder")


@pytest.mark.parametrize("issuer", ["elsewhere", "", "hilum"])
def test_other_issuers_are_refused(tmp_path: Path, key: Ed25519PrivateKey, issuer: str) -> None:
    """A token that no service of Hilum made is none, even with a service's key."""
    claims = {"iss": issuer, "aud": "hilum/decoder", "sub": "x", "tenant": "a", "exp": int(time.time()) + 9}
    with pytest.raises(Unauthenticated):
        ServiceTokens(KeySet(tmp_path / "jwks"), audience="hilum/decoder").identify(
            SignedToken.parse(jwt.encode(claims, key, algorithm="EdDSA"))
        )


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A server does not start with a file that is no Ed25519 private key, and says which."""
    for content in (b"", key_set(Ed25519PrivateKey.generate())):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"key\.pem"):
            OnBehalf(tmp_path / "key.pem", "fusion")
