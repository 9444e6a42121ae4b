"""The reference of transforms, held against the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hilum.cli.transform_files import ENDINGS
from hilum.transform_nifti import INTENT_CODES
from tests.integration.processes import ROOT

REFERENCE = (ROOT / "docs" / "reference" / "transforms.md").read_text(encoding="utf-8")


def test_the_worked_example_runs(tmp_path: Path) -> None:
    """The example is a program that ends well, in an empty folder."""
    (example,) = re.findall(r"```python run\n(.*?)```", REFERENCE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "field.nii.gz").exists()


def test_every_format_and_intent_is_described() -> None:
    """Each ending that is written has its row, and each intent its code."""
    for ending in ENDINGS:
        assert f"`{ending}`" in REFERENCE
    for intent, code in INTENT_CODES.items():
        assert re.search(rf"`{intent}`.*{code}", REFERENCE)
