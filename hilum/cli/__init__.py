"""The command `hilum`: segment, register, fuse, transform, encode, doctor. Needs the extra `cli`."""

from __future__ import annotations

import sys

_EXTRA = frozenset({"typer", "rich", "grpc_health", "PIL"})


def main() -> None:
    """Runs the command of this process's arguments; see `hilum --help`."""
    try:
        # Here and not above: a bare installation has the command, but not what it is made of.
        from hilum.cli.app import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f'hilum: the command line needs {missing}: pip install "hilum[cli]"\n')
        sys.exit(1)
    run()
