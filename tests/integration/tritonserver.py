"""A real tritonserver for integration tests and benchmarks, and a small model for it to serve."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import psutil
import torch
from prometheus_client.parser import text_string_to_metric_families

from deploy.triton.install import Installation
from deploy.triton.launch import default_target, server_command, server_environment
from hilum.serving.bundle import MANIFEST_FILENAME, Bundle, Normalisation, file_sha256
from modeling.graphs import encoder_graph, write_graph
from modeling.segment_anything_modules import ImageEncoderViT
from tests.integration.processes import ROOT, free_port

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
# The last line before a server is at work: gRPC and HTTP are open by then.
_STARTED = "Started Metrics Service"


class TritonServer:
    """A tritonserver on ports of its own, started and ended as often as a test likes.

    Args:
        log: File for what the server prints.
        options: More of its command line.
    """

    def __init__(self, log: Path, *options: str) -> None:
        self._log = log
        self._options = options
        self._grpc_port, self._http_port, self._metrics_port = free_port(), free_port(), free_port()
        self._popen: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """The gRPC target."""
        return f"127.0.0.1:{self._grpc_port}"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._popen is not None
        return self._popen.pid

    def start(self, *repositories: Path) -> None:
        """Starts the server and returns when its models are loaded; AssertionError when it ends before that."""
        command = [
            *server_command(
                installation(),
                repositories,
                grpc_port=self._grpc_port,
                http_port=self._http_port,
                metrics_port=self._metrics_port,
            ),
            *self._options,
        ]
        environment = server_environment() | {"OMP_NUM_THREADS": "1"}
        popen = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True, errors="replace"
        )
        self._popen = popen
        settled = threading.Event()
        started = []

        def read() -> None:
            with self._log.open("a", encoding="utf-8") as log:
                for line in popen.stderr or ():
                    log.write(line)
                    if _STARTED in line:
                        started.append(line)
                        settled.set()
            settled.set()

        threading.Thread(target=read, daemon=True).start()
        settled.wait(START_TIMEOUT_S)
        if not started:
            self.stop()
            raise AssertionError(f"tritonserver did not start:\n{self._log.read_text()[-4000:]}")

    def kill(self) -> None:
        """Ends the server without warning (SIGKILL), and then what is left of its processes."""
        if self._popen is not None:
            self._popen.kill()
            self._end()

    def kill_model_processes(self) -> None:
        """Ends the processes that run the models, and leaves the server itself."""
        assert self._popen is not None
        stubs = psutil.Process(self._popen.pid).children(recursive=True)
        assert stubs
        for stub in stubs:
            handle = os.pidfd_open(stub.pid)
            stub.kill()
            ended, _, _ = select.select([handle], [], [], STOP_TIMEOUT_S)
            os.close(handle)
            assert ended

    def stop(self) -> None:
        """Asks the server to end, and ends it when it does not: it is known to hang."""
        if self._popen is not None:
            self._popen.terminate()
            self._end()

    def metric(self, name: str, **labels: str) -> float:
        """Returns a Prometheus sample's value, summed over the labels that are not given."""
        families = text_string_to_metric_families(_get(f"http://127.0.0.1:{self._metrics_port}/metrics"))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            # The parser adds to Triton's counters the suffix that the format wants and Triton leaves out.
            if sample.name in {name, f"{name}_total"} and labels.items() <= sample.labels.items()
        )

    def formed_batches(self, model: str) -> dict[int, int]:
        """Returns how many batches of each size Triton has formed since it started."""
        statistics = json.loads(_get(f"http://127.0.0.1:{self._http_port}/v2/models/{model}/stats"))
        sizes: list[dict[str, Any]] = statistics["model_stats"][0]["batch_stats"]
        return {entry["batch_size"]: entry["compute_infer"]["count"] for entry in sizes}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _end(self) -> None:
        popen, self._popen = self._popen, None
        assert popen is not None
        try:
            popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait(STOP_TIMEOUT_S)
        # Usually the server has ended its models' processes, and with them the group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)


def installation() -> Installation:
    """Returns the installed server; installs it where `make triton` has not."""
    found = Installation(default_target())
    if not found.is_complete():
        command = [sys.executable, str(ROOT / "deploy/triton/install.py"), "--target", str(found.folder)]
        subprocess.run(command, check=True, timeout=600)
    return found


def small_bundle(like: Bundle, folder: Path, *, seed: int = 0) -> Bundle:
    """Writes the encoder graph of a randomly initialised, small SAM (64x64 to 8x4x4), and a manifest, into a folder.

    The bundle has the folder's name, and ImageNet's normalisation; what else its manifest says is `like`'s.
    """
    torch.manual_seed(seed)
    encoder = ImageEncoderViT(
        img_size=64,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=8,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    ).eval()
    folder.mkdir()
    graph = encoder_graph(SimpleNamespace(image_encoder=encoder), 64)
    write_graph(graph, folder)
    digest = file_sha256(folder / graph.filename)
    manifest = dataclasses.replace(
        like.manifest,
        name=folder.name,
        encoder_revision=digest,
        image_size=64,
        normalisation=Normalisation("mean_std", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        embedding_shape=(8, 4, 4),
        files={graph.filename: digest},
        graphs={"image_encoder": graph.filename},
    )
    (folder / MANIFEST_FILENAME).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.load(folder)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  # http on loopback, see the callers
        text: str = response.read().decode()
    return text
