"""The mask decoder on CPU: one box on a cached image, and 16 in one call.

    python -m benchmarks.decoder [--rounds 30] [--threads 2]

Peers: segment-anything's modules in torch (eager, inference mode); the same modules exported plainly to ONNX Runtime;
ours. Weights are LiteMedSAM's, the image is random, the image side is prepared beforehand for all that have one.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.peers import Call, Load, alternate, cores, show_peers
from benchmarks.report import main
from hilum.serving.bundle import find_bundle
from modeling.models import load_model
from services.decoder.mask_decoder import OnnxMaskDecoder

BUNDLE = "lite-medsam"
BATCH = 16
IOU_PROMPTS = 100
# A box is two points with these labels.
BOX_LABELS = np.array([[2, 3]], np.float32)


def measure(rounds: int = 30, threads: int | None = None) -> dict[str, float]:
    """Measure; peers alternate, each in its own process with the same number of threads (default: all cores).

    Returns:
        Median ms of one box, ours, torch and plain export; speedups; cost per box of 16 in one call relative to a
        single box; and the least IoU with segment-anything's masks over random boxes and points.
    """
    threads = threads or cores()
    with tempfile.TemporaryDirectory() as folder:
        plain_graph = Path(folder) / "plain.onnx"
        export_plainly(plain_graph)
        peers: dict[str, Load] = {
            "segment-anything's modules, torch": load_torch,
            "the same, exported to ONNX Runtime": partial(load_plain_export, plain_graph),
            "ours": partial(load_ours, 1),
            f"ours, {BATCH} boxes in one call": partial(load_ours, BATCH),
        }
        durations = alternate(peers, rounds=rounds, calls=3, threads=threads)
    show_peers("mask decoder, one box", durations, threads)
    in_torch, plain, ours, batch = durations.values()
    return {
        "decoder_ms": ours.median_ms,
        "decoder_torch_ms": in_torch.median_ms,
        "decoder_plain_export_ms": plain.median_ms,
        "decoder_speedup_vs_torch": in_torch.times(ours),
        "decoder_speedup_vs_plain_export": plain.times(ours),
        "decoder_batch16_per_box_ratio": batch.times(ours) / BATCH,
        "decoder_min_mask_iou": min_mask_iou(),
    }


class PlainDecoder(nn.Module):
    """segment-anything's prompt encoder and mask decoder as they are, for boxes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder

    def forward(self, image_embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """All four masks and scores of boxes (B, 4)."""
        sparse, dense = self.prompt_encoder(None, boxes, None)
        position = self.prompt_encoder.get_dense_pe()
        masks: tuple[Tensor, Tensor] = self.mask_decoder.predict_masks(image_embedding, position, sparse, dense)
        return masks


def export_plainly(path: Path) -> None:
    """Export segment-anything's modules without rearranging anything."""
    decoder = PlainDecoder(load_model(find_bundle(BUNDLE))).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of every shape it fixes
        torch.onnx.export(
            decoder,
            (torch.from_numpy(random_embedding()), torch.from_numpy(boxes(2))),
            path,
            input_names=["image_embedding", "boxes"],
            output_names=["low_res_masks", "iou_predictions"],
            dynamic_axes={"boxes": {0: "prompts"}, "low_res_masks": {0: "prompts"}, "iou_predictions": {0: "prompts"}},
            opset_version=17,
            dynamo=False,
        )


def load_torch(threads: int) -> Call:
    """segment-anything's modules in eager torch."""
    torch.set_num_threads(threads)
    decoder = PlainDecoder(load_model(find_bundle(BUNDLE))).eval()
    embedding, box = torch.from_numpy(random_embedding()), torch.from_numpy(boxes(1))

    def call() -> object:
        with torch.inference_mode():
            return decoder(embedding, box)

    return call


def load_plain_export(graph: Path, threads: int) -> Call:
    """The plain export, with the session options of ours."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"image_embedding": random_embedding(), "boxes": boxes(1)})


def load_ours(count: int, threads: int) -> Call:
    """The service's decoder."""
    decoder = OnnxMaskDecoder(find_bundle(BUNDLE), threads)
    prepared = decoder.prepare(random_embedding())
    return partial(decoder.decode, prepared, boxes(count).reshape(-1, 2, 2), np.tile(BOX_LABELS, (count, 1)))


def min_mask_iou() -> float:
    """Least IoU of our masks with segment-anything's, of those covering 5 to 95 % of the image."""
    bundle = find_bundle(BUNDLE)
    oracle = PlainDecoder(load_model(bundle)).eval()
    decoder = OnnxMaskDecoder(bundle, threads=1)
    embedding = random_embedding()
    prepared = decoder.prepare(embedding)
    generator = np.random.default_rng(2)
    least = 1.0
    for _ in range(IOU_PROMPTS):
        corners = np.sort(generator.uniform(0, 255, (1, 2, 2)), axis=1).astype(np.float32)
        with torch.inference_mode():
            expected = oracle(torch.from_numpy(embedding), torch.from_numpy(corners.reshape(1, 4)))[0].numpy() > 0
        found = decoder.decode(prepared, corners, BOX_LABELS).low_res_masks > 0
        area = expected.mean((2, 3))
        iou = (expected & found).sum((2, 3)) / np.maximum((expected | found).sum((2, 3)), 1)
        least = min([least, *iou[(area >= 0.05) & (area <= 0.95)]])
    return float(least)


def random_embedding() -> NDArray[np.float32]:
    """An image embedding with the spread of a real one."""
    return np.random.default_rng(0).normal(0, 0.15, (1, 256, 64, 64)).astype(np.float32)


def boxes(count: int) -> NDArray[np.float32]:
    """Boxes (count, 4) in model pixels."""
    return np.array([[60, 70, 150, 160]], np.float32) + np.arange(count, dtype=np.float32)[:, None]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    main(lambda: measure(arguments.rounds, arguments.threads))
