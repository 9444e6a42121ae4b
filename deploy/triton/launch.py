"""Runs an installed tritonserver on loopback: `python -m deploy.triton.launch --model-repository FOLDER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deploy.triton.install import Installation, InstallationError, library_folder


def default_target() -> Path:
    """Returns the folder that `make triton` installs the server in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hilum/triton"


def server_command(
    installation: Installation, repositories: Sequence[Path], *, grpc_port: int, http_port: int, metrics_port: int
) -> list[str]:
    """Returns the command that serves model repositories on 127.0.0.1."""
    return [
        str(installation.server),
        *(f"--model-repository={repository}" for repository in repositories),
        f"--backend-directory={installation.backends}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc_port}",
        "--http-address=127.0.0.1",
        f"--http-port={http_port}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={metrics_port}",
        # This server sees no GPU; asking for its metrics only prints warnings.
        "--allow-gpu-metrics=false",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=15",
    ]


def server_environment() -> dict[str, str]:
    """Returns the server's whole environment.

    Models run in the first python3 on PATH, here the Python that runs this: the backend ignores PYTHONPATH and
    PYTHONHOME.

    Raises:
        InstallationError: This Python has no shared libpython.
    """
    environment = {
        "HOME": str(Path.home()),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(library_folder()),
    }
    if "OMP_NUM_THREADS" in os.environ:
        environment["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
    return environment


def main(
    model_repository: Annotated[list[Path], typer.Option(help="What `python -m modeling triton` printed; repeatable.")],
    target: Annotated[
        Path | None, typer.Option(help="Where the server is installed; default: by `make triton`.")
    ] = None,
    grpc_port: Annotated[int, typer.Option()] = 8001,
    http_port: Annotated[int, typer.Option()] = 8000,
    metrics_port: Annotated[int, typer.Option()] = 8002,
) -> None:
    """Run an installed tritonserver on loopback, in place of this process."""
    installation = Installation(target or default_target())
    if not installation.is_complete():
        typer.echo(f"error: no tritonserver in {installation.folder}; run `make triton`", err=True)
        raise typer.Exit(2)
    try:
        environment = server_environment()
    except InstallationError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    command = server_command(
        installation, model_repository, grpc_port=grpc_port, http_port=http_port, metrics_port=metrics_port
    )
    os.execve(command[0], command, environment)  # noqa: S606  # no shell is what is wanted


if __name__ == "__main__":
    typer.run(main)
