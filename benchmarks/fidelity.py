"""Whether the encoder's runtime changes masks: Dice on the demo's CT with embeddings of torch and of the served graph.

The same preprocessing, mask decoder and postprocessing, ten jittered boxes per organ; only the image encoder differs:
LiteMedSAM's own modules in torch, float32, or ONNX Runtime with the embedding kept as float16, as the service does it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.report import main
from examples.demo.accuracy import BOX_SEEDS, IMAGE_WIDTH, LUNGS, dice
from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, Label, load_ct_volume
from examples.demo.truth import Mask, jittered_box, slice_of_largest_area, slice_truth
from examples.demo.working_grid import WorkingGrid
from hilum import CT_LUNG, CT_SOFT_TISSUE, Image, Prompt
from hilum.serving.bundle import Bundle, find_bundle
from modeling.models import load_model
from services.decoder.mask_decoder import OnnxMaskDecoder
from services.decoder.postprocess import MaskUpscaler
from services.decoder.prompts import CanvasMap, batches
from services.encoder.preprocess import prepare

Encode: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def encoders(bundle: Bundle) -> tuple[Encode, Encode]:
    """Returns torch's encoder and the served one."""
    model: Any = load_model(bundle)
    session = onnxruntime.InferenceSession(bundle.graph("image_encoder"), providers=["CPUExecutionProvider"])

    def by_torch(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model.image_encoder(torch.from_numpy(image)).numpy(), np.float32)

    def by_graph(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {"image": image})[0], np.float16).astype(np.float32)

    return by_torch, by_graph


def mean_dice(bundle: Bundle, decoder: OnnxMaskDecoder, encode: Encode, image: Image, truth: Mask) -> float:
    """Returns the mean Dice over the jittered boxes."""
    manifest = bundle.manifest
    ready = prepare(
        image,
        image.default_mapping,
        pixel_aspect=image.geometry.pixel_aspect,
        side=manifest.image_size,
        normalisation=manifest.normalisation,
    )
    prepared = decoder.prepare(encode(ready.normalised()))
    prompts = [Prompt(box=jittered_box(truth, seed)) for seed in BOX_SEEDS]
    (batch,) = batches(prompts, CanvasMap(image.size, ready.input_size), len(prompts))
    logits = decoder.decode(prepared, batch.point_coords, batch.point_labels).low_res_masks[:, 0]
    upscale = MaskUpscaler(image.size, ready.input_size, manifest.image_size, manifest.low_res_mask_size)
    masks = (upscale(mask, manifest.mask_threshold).full(image.size) for mask in logits)
    return float(np.mean([dice(mask, truth) for mask in masks]))


def measure() -> dict[str, float]:
    """Returns the largest difference of mean Dice between the two encoders, over liver and both lungs."""
    bundle, volume = find_bundle("lite-medsam"), load_ct_volume()
    grid, decoder = WorkingGrid.over(volume, IMAGE_WIDTH), OnnxMaskDecoder(bundle, threads=1)
    liver, lungs = slice_of_largest_area(volume, (Label.LIVER,)), slice_of_largest_area(volume, RIGHT_LUNG + LEFT_LUNG)
    cases = [(grid.slice_image(volume, liver, CT_SOFT_TISSUE), slice_truth(volume, grid, liver, (Label.LIVER,)))]
    chest = grid.slice_image(volume, lungs, CT_LUNG)
    cases += [(chest, slice_truth(volume, grid, lungs, labels)) for labels in LUNGS.values()]
    of_image = partial(mean_dice, bundle, decoder)
    by_torch, by_graph = encoders(bundle)
    differences = [abs(of_image(by_torch, *case) - of_image(by_graph, *case)) for case in cases]
    return {"encoder_dice_difference_vs_torch": max(differences)}


if __name__ == "__main__":
    main(measure)
