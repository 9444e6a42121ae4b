"""`python -m services.service_key` and `python -m services.development_ca`."""

import json
import subprocess
import sys
from pathlib import Path

from hilum.serving.key_set import KeySet
from services.development_ca import create
from tests.integration.processes import ROOT


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_key_set_of_services_is_printed(tmp_path: Path) -> None:
    """Of private keys in PEM form the public halves are printed, under the ids that tokens name."""
    create(tmp_path / "made")
    files = [str(tmp_path / "made" / f"{name}-service-key.pem") for name in ("encoder", "decoder", "fusion")]
    printed = _run("services.service_key", *files).stdout
    assert json.loads(printed) == json.loads((tmp_path / "made/service-jwks.json").read_text())
    (tmp_path / "jwks").write_text(printed)
    assert KeySet(tmp_path / "jwks").key(json.loads(printed)["keys"][0]["kid"])
    assert "d" not in json.loads(printed)["keys"][0]


def test_a_file_that_is_no_key_is_one_line(tmp_path: Path) -> None:
    """The line names the file."""
    (tmp_path / "nothing.pem").write_text("nothing")
    ended = _run("services.service_key", str(tmp_path / "nothing.pem"))
    assert ended.returncode == 1
    assert "nothing.pem" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_development_authority_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """Only its user can read it, what a client exports is printed, and an existing folder is left alone."""
    folder = tmp_path / "made"
    made = _run("services.development_ca", str(folder))
    assert f"export HILUM_CA={folder}/ca.pem\n" in made.stdout
    assert {oct(path.stat().st_mode & 0o077) for path in [folder, *folder.iterdir()]} == {"0o0"}
    before = (folder / "ca.pem").read_bytes()
    again = _run("services.development_ca", str(folder))
    assert (again.returncode, again.stderr) == (1, f"{folder}: File exists\n")
    assert (folder / "ca.pem").read_bytes() == before
