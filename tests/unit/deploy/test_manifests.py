"""What deploy/k8s promises, read from the overlays as kustomize renders them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.rendered import COMPONENTS, KUBECTL, OVERLAYS, ROOT, SERVICES, Overlay
from hilum.serving.settings import ServiceSettings
from hilum.serving.telemetry import Telemetry
from services.decoder.settings import DecoderSettings
from services.encoder.settings import EncoderSettings
from services.fusion.settings import FusionSettings

ENVOY = KUBECTL.with_name("envoy")
SETTINGS: dict[str, type[ServiceSettings]] = {
    "encoder": EncoderSettings,
    "decoder": DecoderSettings,
    "fusion": FusionSettings,
}
# Read by hilum.serving.bundle, not by a settings class.
BUNDLES = "HILUM_BUNDLES"
KEY_FILE = "HILUM_EMBEDDING_KEY_FILE"
CLEAN_UP_S = 5


@pytest.fixture(scope="module", params=["dev", "production", "production-cpu"])
def overlay(request: pytest.FixtureRequest) -> Overlay:
    """Every overlay."""
    return Overlay.render(OVERLAYS / request.param)


def pods(overlay: Overlay) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for deployment in overlay.of_kind("Deployment"):
        yield deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]


def containers(overlay: Overlay) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, pod in pods(overlay):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}/{container['name']}", container


def test_every_overlay_is_checked() -> None:
    """The overlays that these tests render are all there are."""
    assert {folder.name for folder in OVERLAYS.iterdir()} == {"dev", "production", "production-cpu"}


def test_everything_is_in_one_namespace(overlay: Overlay) -> None:
    """No component leaves an object outside the namespace that its network policies close."""
    outside = [
        (manifest["kind"], manifest["metadata"]["name"])
        for manifest in overlay.manifests
        if manifest["kind"] != "Namespace" and manifest["metadata"].get("namespace") != "hilum"
    ]
    assert outside == []


@pytest.mark.parametrize("service", SERVICES)
def test_settings_exist_and_are_accepted(
    overlay: Overlay, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every HILUM_ variable is a setting of the service that gets it, with a value that it accepts."""
    variables = {name: value for name, value in overlay.environment(service).items() if name.startswith("HILUM_")}
    known = {f"HILUM_{field.upper()}" for field in SETTINGS[service].model_fields} | {BUNDLES}
    assert set(variables) <= known
    if KEY_FILE in variables:
        # What the pod mounts there.
        variables[KEY_FILE] = str(tmp_path / "embedding-key")
        (tmp_path / "embedding-key").write_text("5e" * 32)
    for name in [name for name in os.environ if name.startswith("HILUM_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = SETTINGS[service].load()
    (grpc,) = [port for port in overlay.container(service)["ports"] if port["name"] == "grpc"]
    assert settings.port == grpc["containerPort"]


def test_no_secret_is_in_an_environment(overlay: Overlay) -> None:
    """Secrets are files: no variable comes from one, and no URL or variable holds a password or a key."""
    for name, container in containers(overlay):
        assert not any("secretRef" in source for source in container.get("envFrom", ())), name
        assert not any("valueFrom" in entry for entry in container.get("env", ())), name
    for config_map in overlay.of_kind("ConfigMap"):
        for name, value in config_map["data"].items():
            assert not re.search(r"://[^/@\s]*:[^/@\s]*@", value), name
            assert name != "HILUM_EMBEDDING_KEY"
            assert "PRIVATE KEY" not in value


def test_files_that_settings_name_are_mounted(overlay: Overlay) -> None:
    """Every path among the settings lies in a volume of the pod, read-only, and is one of the files it holds."""
    for service in SERVICES:
        mounts = {mount["mountPath"]: mount for mount in overlay.container(service)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in overlay.pod(service)["volumes"]}
        for name, value in overlay.environment(service).items():
            if not value.startswith("/etc/"):
                continue
            folder, _, file = value.rpartition("/")
            assert mounts[folder]["readOnly"], name
            source = volumes[mounts[folder]["name"]]
            items = source.get("secret", source.get("configMap")).get("items")
            assert items is None or file in {item["path"] for item in items}, name


def test_pods_are_restricted(overlay: Overlay) -> None:
    """Nobody is root, writes outside an emptyDir, gains rights, or holds a token of the API server."""
    for name, pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
    for name, container in containers(overlay):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"], name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name


def test_grace_covers_the_drain(overlay: Overlay) -> None:
    """A pod is not killed before preStop, HILUM_DRAIN_S and the clean-up after it have had their time."""
    for service in SERVICES:
        drain_s = float(overlay.environment(service)["HILUM_DRAIN_S"])
        waits_s = overlay.container(service)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert overlay.pod(service)["terminationGracePeriodSeconds"] > waits_s + drain_s + CLEAN_UP_S


def test_probes_ask_the_health_port(overlay: Overlay) -> None:
    """Probes speak gRPC to the port without TLS; only readiness depends on what the service depends on."""
    for service in SERVICES:
        container, port = overlay.container(service), int(overlay.environment(service)["HILUM_HEALTH_PORT"])
        assert container["readinessProbe"]["grpc"] == {"port": port}
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["grpc"] == {"port": port, "service": "hilum.alive"}


def test_nobody_is_reached_without_a_rule(overlay: Overlay) -> None:
    """The first policy denies everything, both ways, to every pod of the namespace; rules name pods and ports."""
    denied = overlay.one("NetworkPolicy", "deny-all")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in overlay.of_kind("NetworkPolicy"):
        if policy["metadata"]["name"] != "deny-all":
            assert policy["spec"]["podSelector"], policy["metadata"]["name"]
            for rule in (*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())):
                assert rule["ports"], policy["metadata"]["name"]
                assert rule.get("from", rule.get("to")), policy["metadata"]["name"]


def test_replicas_survive_maintenance(overlay: Overlay) -> None:
    """Each of the services and Envoy has a disruption budget and is spread over machines."""
    for name in (*SERVICES, "envoy"):
        budget = overlay.one("PodDisruptionBudget", name)["spec"]
        assert budget["maxUnavailable"] == 1
        labels = overlay.one("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()
        spread = {entry["topologyKey"] for entry in overlay.pod(name)["topologySpreadConstraints"]}
        assert "kubernetes.io/hostname" in spread


def test_envoy_finds_the_services(overlay: Overlay) -> None:
    """Each cluster's name and port are those of a headless service whose selector finds the pods."""
    configuration = yaml.safe_load(overlay.files("envoy", "config")["envoy.yaml"])
    for cluster in configuration["static_resources"]["clusters"]:
        if cluster["name"] not in SERVICES:
            continue
        ((endpoint,),) = (entry["lb_endpoints"] for entry in cluster["load_assignment"]["endpoints"])
        where = endpoint["endpoint"]["address"]["socket_address"]
        service = overlay.one("Service", where["address"])["spec"]
        assert service["clusterIP"] == "None"
        assert where["port_value"] in {port["port"] for port in service["ports"]}
        labels = overlay.one("Deployment", cluster["name"])["spec"]["template"]["metadata"]["labels"]
        assert service["selector"].items() <= labels.items()


def test_envoy_differs_by_tls_alone() -> None:
    """Envoy's configuration with TLS is the one without, which other tests run, but for transport sockets."""

    def without_tls(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: without_tls(value) for name, value in node.items() if name != "transport_socket"}
        return [without_tls(value) for value in node] if isinstance(node, list) else node

    plain = yaml.safe_load((OVERLAYS.parent / "base/envoy/envoy.yaml").read_text())
    secured = yaml.safe_load((COMPONENTS / "tls/envoy/envoy.yaml").read_text())
    assert without_tls(secured) == plain
    clusters = {each["name"]: each for each in secured["static_resources"]["clusters"]}
    assert all("transport_socket" in clusters[service] for service in SERVICES)


def test_envoy_takes_its_configuration(overlay: Overlay, tmp_path: Path) -> None:
    """Envoy itself accepts what the overlay mounts, and finds nothing in it that will go."""
    for name, text in overlay.files("envoy", "config").items():
        (tmp_path / name).write_text(text.replace("/etc/envoy", str(tmp_path)).replace("/etc/hilum/tls", str(tmp_path)))
    command = [str(ENVOY), "--mode", "validate", "--log-level", "warning", "-c", str(tmp_path / "envoy.yaml")]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "eprecated" not in run.stderr


def test_rules_and_scaling_name_metrics_that_exist() -> None:
    """The recorded queue time is made of metrics that the encoder has, and is what its autoscaler asks for."""
    overlay = Overlay.render(OVERLAYS / "production")
    ((rule,),) = (group["rules"] for group in overlay.one("PrometheusRule", "queue-time")["spec"]["groups"])
    exposed = {
        name for family in Telemetry("test").registry.collect() for name in (family.name, f"{family.name}_total")
    }
    assert set(re.findall(r"hilum_\w+", rule["expr"])) <= exposed
    (metric,) = overlay.one("HorizontalPodAutoscaler", "encoder")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["record"]
    (decoder,) = overlay.one("HorizontalPodAutoscaler", "decoder")["spec"]["metrics"]
    assert decoder["resource"]["name"] == "cpu"


def test_models_come_from_a_volume_if_asked(tmp_path: Path) -> None:
    """With the component models-volume the servers mount a claim, read-only, and no init container copies bundles."""
    shutil.copytree(ROOT / "deploy" / "k8s", tmp_path / "k8s")
    folder = tmp_path / "k8s" / "overlays" / "own-models"
    folder.mkdir()
    kustomization = {"resources": ["../dev"], "components": ["../../components/models-volume"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    rendered = Overlay.render(folder)
    for service in ("encoder", "decoder"):
        pod = rendered.pod(service)
        assert not pod.get("initContainers")
        (models,) = [volume for volume in pod["volumes"] if volume["name"] == "models"]
        assert models == {"name": "models", "persistentVolumeClaim": {"claimName": "hilum-models", "readOnly": True}}
        (mount,) = [each for each in rendered.container(service)["volumeMounts"] if each["name"] == "models"]
        assert mount["readOnly"] is True
