"""Reading a header in a bounded number of steps: a file of nothing but items of sequences would fill the memory."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from hilum.errors import UnreadableImage

# About a hundred steps a frame: more frames, each with functional groups of its own, than a volume may have slices.
MAX_STEPS = 250_000


class BoundedReader:
    """The reading half of a file, as far as pydicom's parser asks for it.

    Args:
        path: Names the file in errors.
        stream: The file.
        max_steps: How often may be read from it.
    """

    def __init__(self, path: Path, stream: BinaryIO, max_steps: int = MAX_STEPS) -> None:
        self._path = path
        self._stream = stream
        self._steps_left = max_steps
        self.name = path.name
        self.tell = stream.tell
        self.seek = stream.seek

    def read(self, size: int = -1, /) -> bytes:
        """Reads as the file does; UnreadableImage once that was too often."""
        self._steps_left -= 1
        if self._steps_left < 0:
            raise UnreadableImage(f"{self._path.name}: its header has too many elements and items")
        return self._stream.read(size)
