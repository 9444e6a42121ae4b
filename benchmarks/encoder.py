"""LiteMedSAM's image encoder on CPU: torch eager, ONNX Runtime (what the service runs) and OpenVINO.

    python -m benchmarks.encoder [--rounds 10] [--threads 2]

One random 256x256 image; all in float32. OpenVINO is no dependency of the services; it is measured where the
development packages brought it.
"""

from __future__ import annotations

import argparse
import importlib.util
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.peers import Call, Load, alternate, cores, show_peers
from benchmarks.report import main
from hilum.serving.bundle import find_bundle
from modeling.models import load_model

BUNDLE = "lite-medsam"


def measure(rounds: int = 10, threads: int | None = None) -> dict[str, float]:
    """Measure; peers alternate, each in its own process with the same number of threads (default: all cores).

    Returns:
        Median ms of one image in ONNX Runtime, torch and (where installed) OpenVINO, the speedup over torch, and
        the largest difference of ONNX Runtime's embedding from torch's, relative to the largest value.
    """
    threads = threads or cores()
    peers: dict[str, Load] = {"torch eager": load_torch, "ONNX Runtime": load_onnx_runtime}
    if importlib.util.find_spec("openvino") is not None:
        peers["OpenVINO"] = load_openvino
    durations = alternate(peers, rounds=rounds, calls=1, threads=threads)
    show_peers("image encoder, one image", durations, threads)
    in_torch, ours = durations["torch eager"], durations["ONNX Runtime"]
    figures = {
        "encoder_ms": ours.median_ms,
        "encoder_torch_ms": in_torch.median_ms,
        "encoder_speedup_vs_torch": in_torch.times(ours),
        "encoder_largest_difference": largest_difference(),
    }
    if "OpenVINO" in durations:
        figures["encoder_openvino_ms"] = durations["OpenVINO"].median_ms
    return figures


def load_torch(threads: int) -> Call:
    """The original modules in eager torch."""
    torch.set_num_threads(threads)
    model: Any = load_model(find_bundle(BUNDLE))
    image = torch.from_numpy(random_image())

    def call() -> object:
        with torch.inference_mode():
            return model.image_encoder(image)

    return call


def load_onnx_runtime(threads: int) -> Call:
    """The bundle's graph in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = find_bundle(BUNDLE).graph("image_encoder")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"image": random_image()})


def load_openvino(threads: int) -> Call:
    """The bundle's graph in OpenVINO, float32."""
    import openvino  # noqa: PLC0415 -- optional

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    graph = find_bundle(BUNDLE).graph("image_encoder")
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    return partial(request.infer, [random_image()])


def largest_difference() -> float:
    """Largest difference of ONNX Runtime's embedding from torch's, relative to its largest value."""
    model: Any = load_model(find_bundle(BUNDLE))
    with torch.inference_mode():
        expected = model.image_encoder(torch.from_numpy(random_image())).numpy()
    graph = find_bundle(BUNDLE).graph("image_encoder")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": random_image()})
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def random_image() -> NDArray[np.float32]:
    """An image (1, 3, 256, 256), normalised."""
    return np.random.default_rng(0).random((1, 3, 256, 256), np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    main(lambda: measure(arguments.rounds, arguments.threads))
