"""An overlay of deploy/k8s as kustomize renders it, and what the tests and checks read out of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

ROOT = Path(__file__).resolve().parents[1]
OVERLAYS = ROOT / "deploy" / "k8s" / "overlays"
COMPONENTS = ROOT / "deploy" / "k8s" / "components"
KUBECTL = Path(sys.executable).with_name("kubectl")
SERVICES = ("encoder", "decoder", "fusion")

Manifest = Mapping[str, Any]


class RenderingError(Exception):
    """Kustomize refused; the message is its own."""


@dataclass(frozen=True)
class Overlay:
    """The objects of one overlay.

    Attributes:
        name: Its folder's name.
        text: What kustomize printed.
        manifests: The objects in it.
    """

    name: str
    text: str
    manifests: tuple[Manifest, ...]

    @classmethod
    def render(cls, folder: Path) -> Self:
        """Renders a folder with a kustomization.

        Raises:
            RenderingError: Kustomize refused.
        """
        run = subprocess.run([KUBECTL, "kustomize", folder], check=False, capture_output=True, text=True)
        if run.returncode:
            raise RenderingError(run.stderr.strip())
        return cls(folder.name, run.stdout, tuple(yaml.safe_load_all(run.stdout)))

    def of_kind(self, kind: str) -> Iterator[Manifest]:
        """Yields the objects of a kind."""
        return (manifest for manifest in self.manifests if manifest["kind"] == kind)

    def one(self, kind: str, name: str) -> Manifest:
        """Returns the object of this kind and name; KeyError where there is none."""
        for manifest in self.of_kind(kind):
            if manifest["metadata"]["name"] == name:
                return manifest
        raise KeyError(f"{kind} {name} in {self.name}")

    def pod(self, deployment: str) -> Manifest:
        """Returns the pod specification of a deployment."""
        pod: Manifest = self.one("Deployment", deployment)["spec"]["template"]["spec"]
        return pod

    def container(self, deployment: str) -> Manifest:
        """Returns the one container of a deployment's pods."""
        (container,) = self.pod(deployment)["containers"]
        only: Manifest = container
        return only

    def environment(self, deployment: str) -> dict[str, str]:
        """Returns the environment of a deployment's container, config maps first, as Kubernetes sets it."""
        container, variables = self.container(deployment), {}
        for source in container.get("envFrom", ()):
            variables.update(self.one("ConfigMap", source["configMapRef"]["name"])["data"])
        variables.update({entry["name"]: entry["value"] for entry in container.get("env", ())})
        return variables

    def files(self, deployment: str, volume: str) -> dict[str, str]:
        """Returns the files of a volume that a config map fills, by name."""
        (source,) = [entry for entry in self.pod(deployment)["volumes"] if entry["name"] == volume]
        files: dict[str, str] = self.one("ConfigMap", source["configMap"]["name"])["data"]
        return files


def overlays() -> list[Path]:
    """Returns the folders of all overlays."""
    return sorted(folder for folder in OVERLAYS.iterdir() if folder.is_dir())
