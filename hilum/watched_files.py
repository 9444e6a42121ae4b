"""A value read from files, and read again when they change: certificates, keys and tokens are renewed while we run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

Value = TypeVar("Value")
_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]

# Files that change while they are read are read again, so that a certificate and its key belong together.
_ATTEMPTS = 3


class WatchedFiles(Generic[Value]):
    """The newest usable value of some files.

    Each look costs one `stat` a file. What cannot be read or used, as in the middle of a replacement, leaves the former
    value in force until the files change again. Safe to use from several threads.

    Args:
        paths: The files; links are followed, so that a Kubernetes secret that is swapped counts as changed.
        read: Makes the value of the files' contents; OSError or ValueError where they are of no use.
        refused: Told of an error that kept the former value in force.

    Raises:
        OSError: A file cannot be read now.
        ValueError: The files are of no use now.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[Sequence[bytes]], Value],
        *,
        refused: Callable[[Exception], None] | None = None,
    ) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._refused = refused
        self._seen, self._value = self._consistent()

    def current(self) -> Value:
        """Returns the value of the files as they are, or the last one that was of use."""
        try:
            stamp = self._stamp()
        except OSError:  # between the removal of the old file and the arrival of the new one
            return self._value
        if stamp != self._seen:
            try:
                self._seen, self._value = self._consistent()
            except (OSError, ValueError) as error:
                self._seen = stamp
                if self._refused is not None:
                    self._refused(error)
        return self._value

    def _consistent(self) -> tuple[_Stamp, Value]:
        stamp = self._stamp()
        for _ in range(_ATTEMPTS):
            contents = [path.read_bytes() for path in self._paths]
            after = self._stamp()
            if after == stamp:
                break
            stamp = after
        return stamp, self._read(contents)

    def _stamp(self) -> _Stamp:
        states = [path.stat() for path in self._paths]
        return tuple((state.st_mtime_ns, state.st_size, state.st_ino) for state in states)
