"""`python -m services.development_ca`; what it makes is used all over the tests."""

import subprocess
import sys
from pathlib import Path

from tests.integration.processes import ROOT


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.development_ca", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_a_development_authority_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """Only its user can read it, what a client exports is printed, and an existing folder is left alone."""
    folder = tmp_path / "made"
    made = _run(folder)
    assert f"export HILUM_CA={folder}/ca.pem\n" in made.stdout
    assert {oct(path.stat().st_mode & 0o077) for path in [folder, *folder.iterdir()]} == {"0o0"}
    before = (folder / "ca.pem").read_bytes()
    again = _run(folder)
    assert (again.returncode, again.stderr) == (1, f"{folder}: File exists\n")
    assert (folder / "ca.pem").read_bytes() == before
