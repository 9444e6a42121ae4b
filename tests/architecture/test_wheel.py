"""What `pip install hilum` gives: the client library alone, and it works with what it declares to need."""

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.architecture.test_imports import ROOT

SCRIPT = """
import sys
import numpy as np
import hilum
from hilum.testing import serve_in_thread

image = hilum.Image(np.random.default_rng(0).integers(-1000, 1000, (300, 400)).astype(np.int16))
with serve_in_thread() as endpoints, hilum.Client(endpoints) as client:
    prediction = client.predict(image, [hilum.Prompt(box=hilum.Box(9.5, 19.5, 29.5, 49.5))])
mask = prediction.masks[0][0].mask
assert mask.shape == (300, 400) and mask[20:50, 10:30].all() and mask.sum() == 600
print(hilum.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (wheel,) = folder.glob("hilum-*.whl")
    return wheel


def test_contents(wheel: Path) -> None:
    """It holds the package hilum with its stubs, types, built-in policy and licence, and neither services nor tests."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"hilum", wheel.name.split("-py3")[0] + ".dist-info"}
    for needed in ("hilum/py.typed", "hilum/v1/image_pb2.pyi", "hilum/testing/server.py"):
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    code = [name for name in names if name.endswith((".py", ".pyi"))]
    data = {"hilum/py.typed", "hilum/serving/policy.toml"}
    assert {name for name in names if ".dist-info/" not in name} == {*code, *data}


def _requirements(distribution: str) -> set[str]:
    """Returns the names of all distributions that this one needs, without extras, itself included."""
    found: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        requires = importlib.metadata.requires(name) or []
        waiting += [re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in requires if "extra ==" not in line]
    return found


def _link(distribution: str, site_packages: Path) -> None:
    """Makes an installed distribution importable from another environment, file by file."""
    here = Path(sysconfig.get_path("purelib"))
    for file in importlib.metadata.files(distribution) or []:
        source = Path(str(file.locate()))
        if here in source.resolve().parents and source.suffix != ".pyc":
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)


def test_a_bare_environment(wheel: Path, tmp_path: Path) -> None:
    """In an environment with the declared requirements only, the library predicts through the fakes that it ships."""
    metadata = zipfile.ZipFile(wheel).read(f"{wheel.name.split('-py3')[0]}.dist-info/METADATA").decode()
    declared = re.findall(r"^Requires-Dist: ([A-Za-z0-9._-]+)(?!.*extra ==).*$", metadata, re.MULTILINE)
    assert {name.lower() for name in declared} == {"grpcio", "protobuf", "numpy", "googleapis-common-protos"}
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)]
    subprocess.run(install, check=True)
    (site_packages,) = environment.glob("lib/python3*/site-packages")
    for name in set().union(*(_requirements(name) for name in declared)):
        _link(name, site_packages)
    run = subprocess.run([python, "-c", SCRIPT], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert str(site_packages) in run.stdout
    torch = subprocess.run([python, "-c", "import torch"], cwd=tmp_path, check=False, capture_output=True)
    assert torch.returncode != 0, "the environment is not bare"


def test_the_command(wheel: Path) -> None:
    """The wheel declares the command `hilum`."""
    entry_points = zipfile.ZipFile(wheel).read(f"{wheel.name.split('-py3')[0]}.dist-info/entry_points.txt").decode()
    assert "hilum = hilum.cli:main" in entry_points
