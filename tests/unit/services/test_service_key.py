"""`python -m services.service_key`."""

import json
import subprocess
import sys
from pathlib import Path

from hilum.serving.key_set import KeySet
from services.development_ca import create
from tests.integration.processes import ROOT


def _run(*files: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.service_key", *files]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_key_set_of_services_is_printed(tmp_path: Path) -> None:
    """Of private keys in PEM form the public halves are printed, under the ids that tokens name."""
    create(tmp_path / "made")
    files = [str(tmp_path / "made" / f"{name}-service-key.pem") for name in ("encoder", "decoder", "fusion")]
    printed = _run(*files).stdout
    assert json.loads(printed) == json.loads((tmp_path / "made/service-jwks.json").read_text())
    (tmp_path / "jwks").write_text(printed)
    assert KeySet(tmp_path / "jwks").key(json.loads(printed)["keys"][0]["kid"])
    assert "d" not in json.loads(printed)["keys"][0]


def test_a_file_that_is_no_key_is_one_line(tmp_path: Path) -> None:
    """The line names the file."""
    (tmp_path / "nothing.pem").write_text("nothing")
    ended = _run(str(tmp_path / "nothing.pem"))
    assert ended.returncode == 1
    assert "nothing.pem" in ended.stderr
    assert "Traceback" not in ended.stderr
