import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from hilum.errors import ConfigurationError, Unauthenticated
from hilum.serving.key_set import KeySet, public_jwk


def _jwk(kind: str) -> dict[str, Any]:
    if kind == "EdDSA":
        return dict(public_jwk(Ed25519PrivateKey.generate().public_key()))
    if kind == "RS256":
        found = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
    else:
        found = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    return dict(found) | {"kid": kind}


def _written(path: Path, *keys: Any) -> Path:
    path.write_text(json.dumps({"keys": list(keys)}))
    return path


@pytest.mark.parametrize("kind", ["EdDSA", "RS256", "ES256"])
def test_keys_are_found_by_their_id(tmp_path: Path, kind: str) -> None:
    """A key of each algorithm is found by its id, and by none where it is the only one."""
    key = _jwk(kind)
    keys = KeySet(_written(tmp_path / "jwks", key))
    assert keys.key(key["kid"]).algorithm_name == kind
    assert keys.key(None) is keys.key(key["kid"])
    with pytest.raises(Unauthenticated):
        keys.key("another")


def test_without_an_id_no_key_is_guessed(tmp_path: Path) -> None:
    """Among several keys a token must say which."""
    with pytest.raises(Unauthenticated):
        KeySet(_written(tmp_path / "jwks", _jwk("EdDSA"), _jwk("RS256"))).key(None)


def test_keys_of_other_purposes_are_left_out(tmp_path: Path) -> None:
    """Encryption keys, shared secrets, private keys, other algorithms and nonsense are no keys to verify with."""
    good = _jwk("EdDSA")
    others = [
        {**_jwk("RS256"), "use": "enc", "kid": "enc"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "oct"},
        {**_jwk("RS256"), "alg": "PS256", "kid": "pss"},
        {**good, "d": good["x"], "kid": "private"},
        {"kty": "new", "kid": "new"},
        "nonsense",
    ]
    keys = KeySet(_written(tmp_path / "jwks", *others, good))
    assert keys.key(None) is keys.key(good["kid"])


@pytest.mark.parametrize("text", ["", "[]", '{"keys": 1}', '{"keys": []}', '{"keys": [{"kty": "oct", "k": "eA"}]}'])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    """A server does not start with a key set that verifies nothing; it says which file."""
    (tmp_path / "jwks").write_text(text)
    with pytest.raises(ConfigurationError, match="jwks"):
        KeySet(tmp_path / "jwks")


def test_a_new_file_replaces_the_keys(tmp_path: Path) -> None:
    """A withdrawn key is unknown from the next look on; a damaged file changes nothing and is told."""
    former, new, told = _jwk("EdDSA"), _jwk("EdDSA"), list[Exception]()
    keys = KeySet(_written(tmp_path / "jwks", former), refused=told.append)
    (tmp_path / "jwks").write_text("{")
    assert keys.key(former["kid"])
    assert len(told) == 1
    _written(tmp_path / "jwks", new)
    assert keys.key(new["kid"])
    with pytest.raises(Unauthenticated):
        keys.key(former["kid"])
