from pathlib import Path

import pytest

from hilum.tls import Tls
from services.development_ca import create


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create(tmp_path / "made")
    return tmp_path / "made"


def test_certificate_and_key_go_together() -> None:
    """One without the other is a mistake that is told at once."""
    with pytest.raises(ValueError, match="both or neither"):
        Tls(certificate=Path("certificate"))


def test_files_must_be_what_they_are_called(folder: Path) -> None:
    """A missing file, a key of another certificate, and authorities that are none, are told before any call."""
    ca, certificate, key = folder / "ca.pem", folder / "viewer-client.pem", folder / "viewer-client-key.pem"
    assert Tls(ca, certificate, key).credentials().current()
    with pytest.raises(FileNotFoundError):
        Tls(folder / "nowhere").credentials()
    with pytest.raises(ValueError, match="no certificate and its key"):
        Tls(ca, certificate, folder / "admin-client-key.pem").credentials()
    with pytest.raises(ValueError, match="authorities"):
        Tls(folder / "jwks.json").credentials()


def test_credentials_change_with_their_files(folder: Path) -> None:
    """A new certificate makes new credentials; unchanged files keep the ones that connections use."""
    tls = Tls(folder / "ca.pem", folder / "viewer-client.pem", folder / "viewer-client-key.pem")
    credentials = tls.credentials()
    first = credentials.current()
    assert credentials.current() is first
    # The key arrives first: for a moment it is not the certificate's.
    (folder / "viewer-client-key.pem").write_bytes((folder / "admin-client-key.pem").read_bytes())
    assert credentials.current() is first
    (folder / "viewer-client.pem").write_bytes((folder / "admin-client.pem").read_bytes())
    assert credentials.current() is not first
