"""What the command prints: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from hilum.errors import (
    BY_REASON,
    BackendUnavailable,
    DeadlineExceeded,
    HilumError,
    InternalError,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    PromptNotSupported,
    TransformFlagged,
    Unauthenticated,
)
from hilum.types import RegistrationProgress

NOT_FOR_DIAGNOSIS = "Not for diagnosis."
# Of files and pipes, which have no width.
_WIDTH = 120

_NEXT_STEPS: dict[type[HilumError], str] = {
    BackendUnavailable: "`hilum doctor` says which service is down; --encoder, --decoder and --fusion name addresses.",
    Unauthenticated: "Say who you are: --token-file, or --certificate and --key, before the command's name.",
    PermissionDenied: "Ask the operator for the role.",
    DeadlineExceeded: "Allow more time with --timeout SECONDS, before the command's name.",
    ModelNotFound: "`hilum doctor` lists the models.",
    PromptNotSupported: "`hilum doctor` lists the prompts that each model understands.",
    TransformFlagged: "Accept a flag with --accept-flag NAME; it is then drawn into the picture, or noted in the file.",
    InternalError: "`hilum doctor` checks the services; the service's log has the details.",
}


def output() -> Console:
    """Returns the console of results; numbers are not coloured."""
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if has_width else _WIDTH)


def messages() -> Console:
    """Returns the console of progress and errors."""
    return Console(stderr=True, highlight=False)


def show_error(error: Exception) -> None:
    """Prints one red line: the field at fault, the reason, what to do next."""
    messages().print(Text(f"error: {describe(error)}", style="red"), soft_wrap=True)


def describe(error: Exception) -> str:
    """Returns an error as one line: field, reason, and what to do next."""
    if isinstance(error, ModuleNotFoundError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if not isinstance(error, HilumError):
        fault = f"this is a fault of the program: {type(error).__name__}: {error}"
        return " ".join(f"{fault}. HILUM_TRACEBACK=1 shows where; please report it.".split())
    known = BY_REASON.get(error.reason) is type(error)
    words = [f"{error} ({error.reason})." if known else f"{error}."]
    if isinstance(error, Overloaded):
        wait = "later" if error.retry_after_s is None else f"in {error.retry_after_s:g} s"
        words.append(f"Try again {wait}.")
    elif type(error) in _NEXT_STEPS:
        words.append(_NEXT_STEPS[type(error)])
    return " ".join(" ".join(words).split())


def step_progress() -> Progress:
    """Returns a progress bar that counts, gone when it ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=messages(), transient=True)


@contextmanager
def stage_progress(description: str) -> Iterator[Callable[[RegistrationProgress], None]]:
    """Shows how far a registration is, with its stage, gone when it ends; yields what moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=messages(), transient=True) as bar:
        task = bar.add_task(description, total=1.0)

        def show(step: RegistrationProgress) -> None:
            bar.update(task, description=step.stage, completed=step.fraction)

        yield show
