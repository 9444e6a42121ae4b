"""A registrar in a process of its own: one thread, and a crash ends that process only."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

from benchmarks.registrars.registrar import Load, Places
from services.fusion.registration import RegistrationImage

_THREADS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OPENBLAS_NUM_THREADS")


class NotInstalled(Exception):
    """The registrar's library cannot be imported."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a registrar found, its wall seconds and its processor seconds (of all threads)."""

    places: Places
    wall_s: float
    cpu_s: float


class RegistrarProcess:
    """A new process that one library is loaded in, whatever its settings; a context manager.

    Args:
        load: a registrar of that library, to see whether it is installed.

    Raises:
        NotInstalled: its library is missing.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self.crashes = 0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        # Libraries read these once, when they are loaded.
        before = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update(dict.fromkeys(_THREADS, "1"))
        try:
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._load), daemon=True)
            self._process.start()
            theirs.close()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        missing = self._connection.recv()
        if missing is not None:
            raise NotInstalled(missing)

    def register(self, load: Load, fixed: RegistrationImage, moving: RegistrationImage) -> Answer | None:
        """What a registrar of the library answers; None where the process ended or the library gave up on the pair."""
        try:
            self._connection.send((load, fixed, moving))
            answer: Answer | None = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.crashes += 1
            self._process.join()
            self._start()
            return None
        return answer

    def __enter__(self) -> RegistrarProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, load: Load) -> None:
    try:
        load()
    except ImportError as error:
        connection.send(str(error))
        return
    connection.send(None)
    while True:
        try:
            load, fixed, moving = connection.recv()
        except EOFError:  # the parent is done
            return
        registrar = load()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            places = registrar(fixed, moving)
        except RuntimeError as error:  # what ITK and ANTs raise when a registration cannot go on
            print(f"{load}: {str(error).splitlines()[0]}")
            connection.send(None)
            continue
        connection.send(Answer(places, time.perf_counter() - wall, time.process_time() - cpu))
