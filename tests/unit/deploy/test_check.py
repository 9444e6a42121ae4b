"""`make check-deploy` finds faults, and does not pass over a tool that is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deploy.check import KUBERNETES, Failed, Tools, envoy, passes, schemas
from deploy.rendered import OVERLAYS, Overlay


@pytest.fixture(scope="module")
def dev() -> Overlay:
    """The overlay for development."""
    return Overlay.render(OVERLAYS / "dev")


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """What the development environment has, and nothing else."""
    return Tools(tmp_path)


@pytest.mark.parametrize(("name", "version"), [("dev", KUBERNETES[0]), ("production", KUBERNETES[1])])
def test_overlays_fit_the_schemas(name: str, version: str, tools: Tools) -> None:
    """Overlays are valid for a version of Kubernetes; `make check-deploy` takes every overlay and version."""
    assert "objects" in schemas(Overlay.render(OVERLAYS / name), version, tools)


def test_a_misspelt_field_fails(dev: Overlay, tools: Tools) -> None:
    """A field that the schema does not know is a fault."""
    manifests = yaml.safe_load(yaml.safe_dump(list(dev.manifests)))
    next(each for each in manifests if each["kind"] == "Deployment")["spec"]["minReadySecond"] = 1
    with pytest.raises(Failed, match="minReadySecond"):
        schemas(replace(dev, manifests=tuple(manifests)), KUBERNETES[0], tools)


def test_an_unknown_kind_fails(dev: Overlay, tools: Tools) -> None:
    """A kind without a schema is a fault, unless it is named as one."""
    unknown = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "thing"}}
    with pytest.raises(Failed, match="Thing"):
        schemas(replace(dev, manifests=(*dev.manifests, unknown)), KUBERNETES[0], tools)


def test_an_envoy_that_would_not_start_fails(dev: Overlay, tools: Tools) -> None:
    """Envoy's own objection is the message."""
    manifests = yaml.safe_load(yaml.safe_dump(list(dev.manifests)).replace("lb_policy: RING_HASH", "lb_policy: RING"))
    with pytest.raises(Failed, match="RING"):
        envoy(replace(dev, manifests=tuple(manifests)), tools)


def test_a_missing_tool_is_a_failed_check(tools: Tools, capsys: pytest.CaptureFixture[str]) -> None:
    """The line says FAILED and names the tool."""
    assert not passes("lint", lambda: tools.run("no-such-linter"))
    line = capsys.readouterr().out
    assert line.startswith("FAILED lint")
    assert "no-such-linter is missing" in line
