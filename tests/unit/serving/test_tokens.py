import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from hilum.errors import Unauthenticated
from hilum.serving.identity import Identity, Role
from hilum.serving.key_set import KeySet
from hilum.serving.tokens import LEEWAY_S, CallerTokens, SignedToken

RSA = rsa.generate_private_key(65537, 2048)
SHORT_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505  # as somebody might have one still
CURVE, EDWARDS = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
JWKS = {
    "keys": [
        {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "RS256"},
        {**RSAAlgorithm.to_jwk(SHORT_RSA.public_key(), as_dict=True), "kid": "short"},
        {**ECAlgorithm.to_jwk(CURVE.public_key(), as_dict=True), "kid": "ES256"},
        {**OKPAlgorithm.to_jwk(EDWARDS.public_key(), as_dict=True), "kid": "EdDSA"},
    ]
}
KEYS: dict[str, Any] = {"RS256": RSA, "ES256": CURVE, "EdDSA": EDWARDS}


@pytest.fixture
def tokens(tmp_path: Path) -> CallerTokens:
    """Takes tokens of "us" for "hilum"."""
    (tmp_path / "jwks").write_text(json.dumps(JWKS))
    return CallerTokens(KeySet(tmp_path / "jwks"), issuer="us", audience="hilum")


def _signed(algorithm: str, *, key: Any = None, kid: str | None = None, **claims: Any) -> SignedToken:
    known = {"iss": "us", "aud": "hilum", "sub": "joy", "tenant": "st-mary", "exp": int(time.time()) + 60, **claims}
    known = {name: value for name, value in known.items() if value is not None}
    signed = jwt.encode(known, key or KEYS[algorithm], algorithm=algorithm, headers={"kid": kid or algorithm})
    return SignedToken.parse(signed)


@pytest.mark.parametrize("algorithm", KEYS)
def test_each_algorithm_verifies(tokens: CallerTokens, algorithm: str) -> None:
    """Tokens of all three algorithms say who is calling; roles of others mean nothing."""
    found = tokens.identify(_signed(algorithm, roles=["viewer", "radiologist", 7], aud=["billing", "hilum"]))
    assert found == Identity("joy", "st-mary", frozenset({Role.VIEWER}))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # it is what is tested
def test_what_does_not_verify_is_refused(tokens: CallerTokens) -> None:
    """A short key, another algorithm of the same key, another key's signature and a changed claim verify nothing."""
    good = _signed("RS256").text.split(".")
    other = _signed("RS256", tenant="st-john").text.split(".")
    forged = [
        _signed("RS256", key=SHORT_RSA, kid="short"),
        _signed("RS512", key=RSA, kid="RS256"),
        _signed("PS256", key=RSA, kid="RS256"),
        _signed("EdDSA", key=Ed25519PrivateKey.generate()),
        _signed("EdDSA", kid="ES256"),
        _signed("EdDSA", kid="unknown"),
        SignedToken.parse(".".join((good[0], other[1], good[2]))),
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            tokens.identify(token)


def test_clocks_may_differ_a_little(tokens: CallerTokens) -> None:
    """Half a minute is forgiven on both ends, more is not; the refusal says which it is."""
    now = int(time.time())
    assert tokens.identify(_signed("EdDSA", exp=now - LEEWAY_S + 10))
    assert tokens.identify(_signed("EdDSA", nbf=now + LEEWAY_S - 10))
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.identify(_signed("EdDSA", exp=now - LEEWAY_S - 10))
    with pytest.raises(Unauthenticated, match="clocks"):
        tokens.identify(_signed("EdDSA", nbf=now + LEEWAY_S + 10))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "exp", "tenant"])
def test_claims_that_are_required(tokens: CallerTokens, claim: str) -> None:
    """Without one of them the token says too little; the refusal names it."""
    with pytest.raises(Unauthenticated, match=claim):
        tokens.identify(_signed("EdDSA", **{claim: None}))
