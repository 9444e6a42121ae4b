"""The command line's frame: global options, commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import hilum
from hilum.cli.console import output, show_error
from hilum.cli.doctor import doctor
from hilum.cli.encode import encode
from hilum.cli.evaluate import evaluate
from hilum.cli.fuse import fuse
from hilum.cli.pose import pose
from hilum.cli.purge import purge
from hilum.cli.register import register
from hilum.cli.segment import segment
from hilum.cli.session import Session
from hilum.cli.transform import transform
from hilum.client import DEFAULT_TIMEOUT_S
from hilum.connection import Endpoints
from hilum.tls import Tls

# Set to anything, Python's own traceback is shown instead of one line.
TRACEBACK_VARIABLE = "HILUM_TRACEBACK"
# As shells say it of a command that SIGINT ended.
INTERRUPTED = 130

_LOOPBACK = Endpoints()

app = typer.Typer(
    name="hilum",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Segment, register and fuse medical images through Hilum's services. Not for diagnosis.",
)
for command in (segment, register, evaluate, pose, fuse, encode, purge, doctor):
    app.command()(command)
app.add_typer(transform, name="transform")


def _version(asked: bool) -> None:
    if asked:
        output().print(f"hilum {hilum.__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    *,
    encoder: Annotated[
        str, typer.Option(envvar="HILUM_ENCODER", metavar="ADDRESS", help="The encoder, host:port.")
    ] = _LOOPBACK.encoder,
    decoder: Annotated[
        str, typer.Option(envvar="HILUM_DECODER", metavar="ADDRESS", help="The decoder, host:port.")
    ] = _LOOPBACK.decoder,
    fusion: Annotated[
        str, typer.Option(envvar="HILUM_FUSION", metavar="ADDRESS", help="The fusion service, host:port.")
    ] = _LOOPBACK.fusion,
    timeout: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Deadline of every call.")
    ] = DEFAULT_TIMEOUT_S,
    ca: Annotated[
        Path | None,
        typer.Option(envvar="HILUM_CA", metavar="FILE", help="Encrypt; trust servers of these authorities (PEM)."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(envvar="HILUM_CERTIFICATE", metavar="FILE", help="Your own certificate (PEM); needs --ca."),
    ] = None,
    key: Annotated[Path | None, typer.Option(envvar="HILUM_KEY", metavar="FILE", help="Its private key (PEM).")] = None,
    token_file: Annotated[
        Path | None, typer.Option(envvar="HILUM_TOKEN_FILE", metavar="FILE", help="A file that holds your token (JWT).")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Says for all commands where the services are and who calls; the help of the app above is shown."""
    del version
    if ca is None and (certificate or key):
        raise typer.BadParameter("a client certificate needs the servers' authority, --ca", param_hint="--certificate")
    if (certificate is None) != (key is None):
        raise typer.BadParameter("a client certificate and its --key go together", param_hint="--certificate")
    tls = None if ca is None else Tls(ca, certificate, key)
    context.obj = Session(Endpoints(encoder, decoder, fusion), timeout, tls, token_file)


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process; what goes wrong is one red line.

    Exit codes: 0; 1 for what went wrong; 2 for a command line that cannot be understood; 130 after Ctrl-C. With the
    environment variable HILUM_TRACEBACK set, errors keep their traceback.

    Args:
        arguments: Of this process where None.
    """
    if not sys.warnoptions:
        # Of damaged files, by the libraries that read them: what matters of it is in the error.
        warnings.simplefilter("ignore")
    try:
        app(args=arguments)
    except Exception as error:  # a fault of this program is one line, too
        if interrupted(error):
            sys.exit(INTERRUPTED)
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        show_error(error)
        sys.exit(1)


def interrupted(error: BaseException) -> bool:
    """Whether an error came up while Ctrl-C was being dealt with, as when a call is cut off: then it is not news."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
