from collections.abc import Sequence
from pathlib import Path

import pytest

from hilum.watched_files import WatchedFiles


def _number(contents: Sequence[bytes]) -> int:
    return sum(int(content) for content in contents)


def test_a_change_is_seen_at_the_next_look(tmp_path: Path) -> None:
    """The value is that of the files as they are, whichever of them changed, also by a link that is swapped."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("1")
    (tmp_path / "v1").write_text("10")
    (tmp_path / "v2").write_text("20")
    second.symlink_to("v1")
    files = WatchedFiles([first, second], _number)
    assert files.current() == 11
    first.write_text("200")
    assert files.current() == 210
    (tmp_path / "link").symlink_to("v2")
    (tmp_path / "link").rename(second)
    assert files.current() == 220


def test_unchanged_files_are_read_once(tmp_path: Path) -> None:
    """A look at files that have not changed neither reads nor makes anything."""
    (tmp_path / "file").write_text("1")
    reads = []
    files = WatchedFiles([tmp_path / "file"], lambda contents: reads.append(contents) or len(reads))  # type: ignore[func-returns-value]  # append's None is what is wanted
    assert [files.current() for _ in range(3)] == [1, 1, 1]


def test_what_is_of_no_use_leaves_the_former_value_in_force(tmp_path: Path) -> None:
    """Nonsense, and a file that is gone for a moment, change nothing; a refusal is told once, and a repair is seen."""
    path, refused = tmp_path / "file", list[Exception]()
    path.write_text("1")
    files = WatchedFiles([path], _number, refused=refused.append)
    path.write_text("nonsense")
    assert [files.current(), files.current()] == [1, 1]
    assert len(refused) == 1
    path.unlink()
    assert files.current() == 1
    path.write_text("22")
    assert files.current() == 22


def test_the_first_reading_must_succeed(tmp_path: Path) -> None:
    """There is no former value at the start."""
    with pytest.raises(OSError, match="file"):
        WatchedFiles([tmp_path / "file"], _number)
    (tmp_path / "file").write_text("nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        WatchedFiles([tmp_path / "file"], _number)
