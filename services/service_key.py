"""Prints the key set of services' keys: `python -m services.service_key KEY.pem ... > service-jwks.json`.

The PEM files are Ed25519 keys, private or public, as `openssl genpkey -algorithm ed25519` makes them. Name the new and
the former key of a service until every replica signs with the new one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from hilum.serving.key_set import public_jwk


def public_key(path: Path) -> Ed25519PublicKey:
    """Returns the public half of a key file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no Ed25519 key in PEM form.
    """
    pem = path.read_bytes()
    key = load_pem_private_key(pem, None) if b"PRIVATE" in pem else load_pem_public_key(pem)
    if isinstance(key, Ed25519PrivateKey):
        return key.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is no Ed25519 key")  # noqa: TRY004  # of a file
    return key


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", type=Path, nargs="+", metavar="KEY")
    keys = []
    for path in parser.parse_args().keys:
        try:
            keys.append(public_jwk(public_key(path)))
        except (OSError, ValueError, TypeError) as error:
            sys.stderr.write(f"{path}: {error}\n")
            return 1
    sys.stdout.write(json.dumps({"keys": keys}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
