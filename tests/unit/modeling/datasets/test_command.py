"""The command `python -m modeling collect`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from hilum.errors import HilumError
from modeling.__main__ import app
from modeling.sample import read_collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of two sixteen-bit images with a mask each."""
    source = tmp_path / "organs"
    for name in ("images", "masks"):
        (source / name).mkdir(parents=True)
    for name in ("a", "b"):
        PillowImage.fromarray(np.full((6, 8), 1000, np.uint16)).save(source / "images" / f"{name}.png")
        PillowImage.fromarray(np.full((6, 8), 2, np.uint8)).save(source / "masks" / f"{name}.png")
    return source


def command(*arguments: "str | Path") -> "subprocess.CompletedProcess[str]":
    """Runs the command in a process of its own."""
    call = [sys.executable, "-m", "modeling", "collect", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_a_data_set_becomes_a_collection(folder: Path) -> None:
    """The command says what it found and what it wrote; window, names and splits are those that were given."""
    (folder.parent / "names.json").write_text('{"2": "liver"}')
    (folder.parent / "splits.json").write_text('{"a": "train", "b": "validation"}')
    out = folder.parent / "out"
    done = command(
        *(folder, out, "--modality", "MR", "--name", "mine", "--window", "1000,2"),
        *("--labels", folder.parent / "names.json", "--split-file", folder.parent / "splits.json"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "a folder images with masks beside it" in done.stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    assert rows == [["mine", "MR", "train", "1", "1", "1"], ["mine", "MR", "validation", "1", "1", "1"]]
    first, second = read_collection(out)
    assert (first.split, second.split) == ("train", "validation")
    assert [target.label for target in first.targets] == ["liver"]
    assert set(np.unique(first.image)) <= {127, 128}


def test_bad_input_is_one_line(folder: Path) -> None:
    """What cannot be read is one line that names the file, and exit code 2, without a traceback."""
    (folder / "masks" / "c.png").write_bytes(b"none")
    done = command(folder, folder.parent / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "c.png: its name begins with no image's stem" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--plane", "axial"], "plane: it does not apply to a folder images"),
        (["--split", "test", "--split-file", "none.json"], "split: give one split for all"),
        (["--labels", "none.json"], r"none\.json: write label values"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder: Path, options: list[str], reason: str) -> None:
    """An option that does not apply, excludes another or names no file is a typed error, before anything is written."""
    with pytest.raises(HilumError, match=reason):
        app(["collect", str(folder), str(folder.parent / "out"), *options], standalone_mode=False)
    assert not (folder.parent / "out").exists()
