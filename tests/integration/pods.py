"""Pods on one machine: the processes of an overlay, with the environment, files and ports that it gives them.

Every pod has a loopback address of its own, so that ports are those of the manifests, and only names and folders are
replaced. Redis is reached without its password: who may use it is another test's matter.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc.aio
import yaml

from deploy.rendered import Overlay
from hilum.serving.bundle import Bundle, bundles_folder
from tests.integration.processes import Process

ENVOY = Path(sys.executable).with_name("envoy")
GRPC_PORT = 50050
# Where pods listen; the ring of a hash over addresses is the same in every run.
_NETWORKS = tuple(f"127.0.{number}" for number in range(85, 95))
_PORTS = (50050, 50051, 50052, 9090, 9091, 9901, 9902)


def network() -> str:
    """Returns the first three numbers of loopback addresses on which nobody listens, and no other test run will."""
    for candidate in _NETWORKS:
        try:
            _claim(candidate)
            for port in _PORTS:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((f"{candidate}.1", port))
        except OSError:
            continue
        return candidate
    raise AssertionError(f"ports {_PORTS} are taken on all of {_NETWORKS}")


@cache
def _claim(network: str) -> socket.socket:
    # A name that one process at a time can hold, and loses when it ends: OSError where another has it.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0hilum-tests-{network}")
    except OSError:
        claim.close()
        raise
    return claim


def pod(
    overlay: Overlay, service: str, address: str, *, redis: str, envoy: str, bundle: Bundle | None = None
) -> Process:
    """Returns a running service of the overlay.

    Args:
        overlay: Says with which environment.
        service: "encoder", "decoder" or "fusion".
        address: Where it listens, in place of the pod's own.
        redis: URL of a server without a password.
        envoy: Address that the name envoy stands for.
        bundle: Served in place of the overlay's models; those where None.
    """
    environment = {
        name: value.replace("envoy:", f"{envoy}:")
        for name, value in overlay.environment(service).items()
        if name != "HILUM_REDIS_PASSWORD_FILE"
    }
    replaced = {"HILUM_HOST": address, "HILUM_REDIS_URL": redis, "HILUM_BUNDLES": str(bundles_folder())}
    if bundle is not None:
        replaced |= {"HILUM_BUNDLES": str(bundle.folder.parent), "HILUM_MODELS": json.dumps([bundle.manifest.name])}
    return Process(f"services.{service}", environment=environment | replaced)


def envoy_configuration(overlay: Overlay, address: str, pods: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Returns the overlay's Envoy configuration with other addresses.

    Args:
        overlay: Whose configuration.
        address: Where it listens.
        pods: Addresses that the name of each cluster's headless service stands for.
    """
    configuration: dict[str, Any] = yaml.safe_load(overlay.files("envoy", "config")["envoy.yaml"])
    # Aliases are one object in what was read: written out, so that each is replaced for itself.
    configuration = json.loads(json.dumps(configuration))
    configuration["admin"]["address"]["socket_address"]["address"] = address
    for listener in configuration["static_resources"]["listeners"]:
        listener["address"]["socket_address"]["address"] = address
    for cluster in configuration["static_resources"]["clusters"]:
        (endpoints,) = cluster["load_assignment"]["endpoints"]
        (named,) = (entry["endpoint"]["address"]["socket_address"] for entry in endpoints["lb_endpoints"])
        where = pods.get(cluster["name"], [address])
        endpoints["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": named | {"address": each}}}} for each in where
        ]
    return configuration


@contextmanager
def running(*command: str | Path) -> Iterator[None]:
    """Runs a program that ends with this process, however that dies."""
    guard = ["/bin/sh", "-c", '"$@" & cat > /dev/null; kill $!; wait $!', "sh"]
    process = subprocess.Popen([*guard, *map(str, command)], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate(timeout=30)


@contextmanager
def envoy(configuration: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Runs Envoy, started as the manifest does it; yields host:port."""
    path = folder / "envoy.yaml"
    path.write_text(json.dumps(configuration))
    with running(ENVOY, "-c", path, "--log-level", "error", "--disable-hot-restart", "--concurrency", "2"):
        yield f"{configuration['admin']['address']['socket_address']['address']}:{GRPC_PORT}"


async def until_open(address: str) -> None:
    """Waits until Envoy takes calls, which it does when it has heard of every replica's health."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
