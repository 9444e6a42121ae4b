"""Checks everything under deploy/: `make check-deploy`. One line per check; a missing tool is a failed check.

kubectl, kubernetes-validate and envoy come with the development environment; checkov and hadolint from the folder
--tools (deploy/check-requirements.txt), promtool from there or from the path.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import yaml

from deploy.rendered import ROOT, Overlay, RenderingError, overlays

BIN = Path(sys.executable).parent
DOCKERFILES = ROOT / "deploy" / "docker"
RULES = ROOT / "deploy" / "observability"
# The oldest that knows preStop sleep, and the newest that the validator knows.
KUBERNETES = ("1.30", "1.37")
# Kinds without a published schema.
CUSTOM = {"Certificate", "Issuer", "PodMonitor", "PrometheusRule"}
# Checks of checkov that are left out, and why.
CHECKOV_SKIPS = {
    "CKV_K8S_11": "CPU limits throttle threads of a model run in the middle of it; requests keep the peace",
    "CKV_K8S_15": "tags are never reused, and production pins digests: pulling always only adds a way to fail",
    "CKV_K8S_43": "digests are made by the site that builds the images; docs/how-to/deploy.md says where they go",
}

Check: TypeAlias = Callable[[], str]


class Failed(Exception):
    """A check that did not pass; the message says what is wrong."""


class Tools:
    """Finds programs.

    Args:
        folder: Where `make check-deploy` installed what is not part of the development environment.
    """

    def __init__(self, folder: Path) -> None:
        self._folders = (BIN, folder / "bin", folder / "usr" / "bin")

    def run(self, program: str, *arguments: str | Path) -> str:
        """Returns what a program printed, errors after the rest.

        Raises:
            Failed: It is missing, or ended with an error.
        """
        found = next((path for folder in self._folders if (path := folder / program).is_file()), shutil.which(program))
        if found is None:
            raise Failed(f"{program} is missing: see the Makefile's target check-deploy")
        done = subprocess.run([found, *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            raise Failed("\n".join((done.stdout + done.stderr).strip().splitlines()[-40:]))
        return done.stdout + done.stderr


def schemas(overlay: Overlay, version: str, tools: Tools) -> str:
    """Holds the objects against the schemas of one version of Kubernetes; every kind without one is named in CUSTOM."""
    known = [manifest for manifest in overlay.manifests if manifest["kind"] not in CUSTOM]
    custom = sorted({manifest["kind"] for manifest in overlay.manifests} & CUSTOM)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, f"{overlay.name}.yaml")
        path.write_text(yaml.safe_dump_all(known))
        printed = tools.run("kubernetes-validate", "--strict", "--kubernetes-version", version, path)
    unknown = [line for line in printed.splitlines() if line.startswith("WARN")]
    if unknown:
        raise Failed("\n".join(unknown))
    return f"{len(known)} objects" + (f"; no schema for {', '.join(custom)}" if custom else "")


def policies(overlay: Overlay, tools: Tools) -> str:
    """Lets checkov look for what a careful platform team would refuse."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, f"{overlay.name}.yaml")
        path.write_text(overlay.text)
        skips = ",".join(CHECKOV_SKIPS)
        options = ["--framework", "kubernetes", "--compact", "--skip-download", "--skip-check", skips]
        printed = tools.run("checkov", "--file", path, *options)
    (line,) = [line for line in printed.splitlines() if line.startswith("Passed checks")]
    return f"{line.lower()}; {len(CHECKOV_SKIPS)} left out with reasons"


def envoy(overlay: Overlay, tools: Tools) -> str:
    """Lets Envoy read its configuration, with files in place of those that the pod mounts."""
    with tempfile.TemporaryDirectory() as scratch:
        files = overlay.files("envoy", "config")
        for name, text in files.items():
            Path(scratch, name).write_text(text.replace("/etc/envoy", scratch).replace("/etc/hilum/tls", scratch))
        printed = tools.run("envoy", "--mode", "validate", "--log-level", "warning", "-c", Path(scratch, "envoy.yaml"))
    if "eprecated" in printed:
        raise Failed(printed)
    return ", ".join(sorted(files))


def recorded(overlay: Overlay, tools: Tools) -> str:
    """Lets Prometheus read the rules inside the operator's objects."""
    groups = [group for manifest in overlay.of_kind("PrometheusRule") for group in manifest["spec"]["groups"]]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "rules.yaml")
        path.write_text(yaml.safe_dump({"groups": groups}))
        tools.run("promtool", "check", "rules", path)
    return f"{sum(len(group['rules']) for group in groups)} rules"


def dockerfile(path: Path, tools: Tools) -> str:
    """Lets hadolint read a Dockerfile."""
    tools.run("hadolint", path)
    return f"{path.stat().st_size} bytes"


def rule_file(path: Path, tools: Tools) -> str:
    """Lets Prometheus read a file of rules, or run a file of their tests."""
    action = ("test", "rules") if path.stem.endswith("_test") else ("check", "rules")
    tools.run("promtool", *action, path)
    return f"{path.stat().st_size} bytes"


def checks(rendered: Sequence[Overlay], tools: Tools) -> Iterator[tuple[str, Check]]:
    """Yields every check with its name."""
    for overlay in rendered:
        for version in KUBERNETES:
            yield f"kubernetes-validate {overlay.name} {version}", partial(schemas, overlay, version, tools)
        yield f"envoy {overlay.name}", partial(envoy, overlay, tools)
        if any(overlay.of_kind("PrometheusRule")):
            yield f"promtool {overlay.name}", partial(recorded, overlay, tools)
        yield f"checkov {overlay.name}", partial(policies, overlay, tools)
    for path in sorted(DOCKERFILES.glob("*.Dockerfile")):
        yield f"hadolint {path.name}", partial(dockerfile, path, tools)
    for path in sorted(RULES.glob("alerts*.yaml")):
        yield f"promtool {path.name}", partial(rule_file, path, tools)


def passes(name: str, check: Check) -> bool:
    """Runs one check and prints its line."""
    begin = time.perf_counter()
    try:
        verdict, text = "ok    ", check()
    except Failed as failure:
        verdict, text = "FAILED", str(failure)
    print(f"{verdict} {name:<44} {time.perf_counter() - begin:5.1f} s  {text}", flush=True)
    return verdict != "FAILED"


def main() -> int:
    """Runs all checks; returns 1 when one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True, help="environment with checkov, hadolint and promtool")
    tools = Tools(parser.parse_args().tools)
    rendered: list[Overlay] = []

    def render(folder: Path) -> str:
        try:
            rendered.append(Overlay.render(folder))
        except RenderingError as error:
            raise Failed(str(error)) from None
        return f"{len(rendered[-1].manifests)} objects"

    results = [passes(f"kustomize {folder.name}", partial(render, folder)) for folder in overlays()]
    results += [passes(name, check) for name, check in checks(rendered, tools)]
    print(f"{sum(results)} of {len(results)} checks passed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
