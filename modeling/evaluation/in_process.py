"""A bundle's graphs run in this process: the services' arithmetic without the services.

The definition is services/encoder/preprocess.py and services/decoder; a test holds that the masks are the same. It is
written again, with torch's own interpolation, because modeling must not import the services.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from hilum.region import Region
from hilum.serving.bundle import Bundle, Manifest, Normalisation, PromptKinds
from hilum.serving.calibration import ScoreCalibration
from hilum.serving.candidates import three_candidates
from hilum.types import Prompt
from modeling.evaluation.predictor import Answers, Candidates, pixel_aspect
from modeling.sample import Sample

_PADDING, _BACKGROUND, _FOREGROUND, _BOX_MIN, _BOX_MAX = -1.0, 0.0, 1.0, 2.0, 3.0
_MAX_BATCH = 8
# Of one image: a target takes up to four regions beside the whole image. An embedding has 4 MB, a view 10 MB more.
_EMBEDDINGS_KEPT = 16
_VIEWS_KEPT = 6

Tensors = dict[str, NDArray[np.float32]]
Tokens = tuple[NDArray[np.float32], list[float]]


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image as an encoder saw it.

    Attributes:
        embedding: (1, C, h, w) float32.
        image_size: (height, width) of the image.
        input_size: (height, width) of it on the model's square canvas.
    """

    embedding: NDArray[np.float32]
    image_size: tuple[int, int]
    input_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class View:
    """An image as a bundle's decoder wants it: encoded, and what all prompts share computed."""

    encoded: Encoded
    tensors: Tensors


class ImageEncoder:
    """A bundle's encoder; it keeps embeddings of the last image, the latest regions', for several decoders to share.

    Args:
        bundle: any bundle of this encoder's revision.
        threads: threads of the graph.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._manifest = bundle.manifest
        self._session = session(bundle.graph("image_encoder"), threads)
        self._image: NDArray[np.uint8] | None = None

    def __call__(self, image: NDArray[np.uint8], aspect: float = 1.0, region: Region | None = None) -> Encoded:
        """Encode an image (height, width) or (height, width, 3), or a region of it.

        Args:
            image: the same array as before is the same image.
            aspect: its pixels' height by width.
            region: what to encode; the whole image where None.
        """
        if self._image is not image:
            self._image = image
            self._encoded = lru_cache(_EMBEDDINGS_KEPT)(partial(self._encode, image, aspect))
        return self._encoded(region)

    def _encode(self, image: NDArray[np.uint8], aspect: float, region: Region | None) -> Encoded:
        pixels = image if region is None else image[slices(region)]
        planes, size = network_input(pixels, self._manifest, aspect)
        name = self._session.get_inputs()[0].name
        embedding: NDArray[np.float32] = self._session.run(None, {name: planes})[0]
        return Encoded(embedding, (pixels.shape[0], pixels.shape[1]), size)


class BundlePredictor:
    """A bundle evaluated in this process.

    Args:
        bundle: the bundle.
        encoder: an encoder of the bundle's encoder revision, shared with other bundles.
        threads: threads of each decoder graph.
    """

    def __init__(self, bundle: Bundle, encoder: ImageEncoder, threads: int = 1) -> None:
        self.manifest = bundle.manifest
        self._encoder = encoder
        self._image = session(bundle.graph("mask_decoder_image"), threads)
        self._prompts = session(bundle.graph("mask_decoder_prompts"), threads)
        self._decoder = session(bundle.graph("mask_decoder"), threads)
        self._decoder_with_mask = session(bundle.graph("mask_decoder_with_mask"), threads)
        self._views: Callable[[Region | None], View] | None = None

    @property
    def name(self) -> str:
        """The bundle's."""
        return self.manifest.name

    @property
    def kinds(self) -> PromptKinds:
        """The manifest's."""
        return self.manifest.prompts

    @property
    def refuses(self) -> bool:
        """Graphs answer anything: what a model does with prompts it was not trained on is measured too."""
        return False

    @property
    def looks_closely(self) -> bool:
        """Whole images only; see `CloseLooks`."""
        return False

    @property
    def calibration(self) -> Mapping[str, ScoreCalibration]:
        """The manifest's."""
        return self.manifest.calibration

    def set_image(self, sample: Sample) -> None:
        """Take an image; it is encoded, unless the shared encoder has just done so, when it is asked about."""
        self._views = lru_cache(_VIEWS_KEPT)(partial(self._prepared, sample))

    def predict(self, prompts: Sequence[Prompt], candidates: Candidates = "single") -> Answers:
        """Answer prompts on the whole image."""
        return self.answer(self.view(None), prompts, candidates)

    def view(self, region: Region | None) -> View:
        """The image, or a region of it, ready for prompts in its own pixels."""
        if self._views is None:
            raise RuntimeError("set_image comes first")
        return self._views(region)

    def _prepared(self, sample: Sample, region: Region | None) -> View:
        encoded = self._encoder(sample.image, pixel_aspect(sample), region)
        return View(encoded, run(self._image, {"image_embedding": encoded.embedding}))

    def answer(self, view: View, prompts: Sequence[Prompt], candidates: Candidates) -> Answers:
        """Answer prompts in runs of at most eight that have as many tokens."""
        low_res: dict[int, NDArray[np.float32]] = {}
        scores: dict[int, NDArray[np.float32]] = {}
        tokens = [_tokens(prompt, view.encoded) for prompt in prompts]
        groups: dict[tuple[int, bool], list[int]] = {}
        for index, prompt in enumerate(prompts):
            groups.setdefault((len(tokens[index][1]), prompt.mask_input is not None), []).append(index)
        for members in groups.values():
            for begin in range(0, len(members), _MAX_BATCH):
                batch = members[begin : begin + _MAX_BATCH]
                answer = self._decode(view, [prompts[it] for it in batch], [tokens[it] for it in batch])
                for row, index in enumerate(batch):
                    chosen = self._chosen(answer["low_res_masks"][row], candidates)
                    low_res[index] = answer["low_res_masks"][row, chosen]
                    scores[index] = answer["iou_predictions"][row, chosen]
        logits, predicted = (np.stack([found[index] for index in range(len(prompts))]) for found in (low_res, scores))
        return Answers(self._upscaled(view.encoded, logits), predicted.astype(np.float64), logits)

    def _decode(self, view: View, prompts: Sequence[Prompt], tokens: Sequence[Tokens]) -> Tensors:
        inputs = {
            "point_coords": np.stack([coords for coords, _ in tokens]),
            "point_labels": np.array([labels for _, labels in tokens], np.float32),
        }
        masks = [prompt.mask_input for prompt in prompts if prompt.mask_input is not None]
        if masks:
            inputs["mask_input"] = np.stack(masks)[:, None].astype(np.float32)
            return run(self._decoder_with_mask, {**view.tensors, **inputs})
        return run(self._decoder, {**view.tensors, **run(self._prompts, {**view.tensors, **inputs})})

    def _chosen(self, logits: NDArray[np.float32], candidates: Candidates) -> list[int]:
        if candidates == "single":
            return [0]
        three = list(three_candidates(logits, self.manifest.mask_threshold, self.manifest.prompts))
        return three if candidates == "three" else [0, *three]

    def _upscaled(self, encoded: Encoded, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Logits (n, k, s, s) to masks of the image: up to the canvas, cut, up to the image, as segment-anything."""
        side, (height, width) = self.manifest.image_size, encoded.input_size
        canvas = torch.from_numpy(logits)
        if side != logits.shape[-1]:
            canvas = _bilinear(canvas, (side, side))
        image = _bilinear(canvas[..., :height, :width], encoded.image_size)
        mask: NDArray[np.bool_] = (image > self.manifest.mask_threshold).numpy()
        return mask


def open_bundles(bundles: Sequence[Bundle], threads: int = 1) -> list[BundlePredictor]:
    """Predictors of bundles; those of one encoder revision share an encoder, and with it every embedding."""
    encoders: dict[str, ImageEncoder] = {}
    for bundle in bundles:
        revision = bundle.manifest.encoder_revision
        if revision not in encoders:
            encoders[revision] = ImageEncoder(bundle, threads)
    return [BundlePredictor(bundle, encoders[bundle.manifest.encoder_revision], threads) for bundle in bundles]


def network_input(
    image: NDArray[np.uint8], manifest: Manifest, aspect: float = 1.0
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """An encoder's input (1, 3, side, side) of an image (h, w) or (h, w, 3), and the image's size on that canvas."""
    side = manifest.image_size
    height, width = input_size((image.shape[0], image.shape[1]), aspect, side)
    resized = np.asarray(PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BILINEAR))
    if resized.ndim == 2:
        resized = np.repeat(resized[..., None], 3, axis=2)
    planes = np.zeros((1, 3, side, side), np.float32)
    planes[0, :, :height, :width] = normalised(resized, manifest.normalisation).transpose(2, 0, 1)
    return planes, (height, width)


def slices(region: Region) -> tuple[slice, slice]:
    """Rows and columns of a region."""
    return slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)


def input_size(image_size: tuple[int, int], aspect: float, side: int) -> tuple[int, int]:
    """(height, width) on the canvas: square pixels, longest side = side, at least one pixel each."""
    height, width = image_size[0] * aspect, float(image_size[1])
    scale = side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def normalised(pixels: NDArray[np.uint8], normalisation: Normalisation) -> NDArray[np.float32]:
    """Resized pixels (height, width, 3) as the encoder's input, float32."""
    values: NDArray[np.float32] = pixels.astype(np.float32)
    if normalisation.kind == "mean_std":
        mean, std = np.asarray(normalisation.mean, np.float32), np.asarray(normalisation.std, np.float32)
        return ((values - mean) / std).astype(np.float32)
    low, high = values.min(), values.max()
    scaled: NDArray[np.float32] = (values - low) / max(high - low, np.float32(1e-8))
    return scaled


def session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on CPU whose threads sleep while they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(graph: Any, inputs: Mapping[str, NDArray[np.float32]]) -> Tensors:
    """Run a graph on those of `inputs` it takes; its outputs by name."""
    wanted = {node.name: inputs[node.name] for node in graph.get_inputs()}
    names = [node.name for node in graph.get_outputs()]
    return dict(zip(names, graph.run(names, wanted), strict=True))


def _tokens(prompt: Prompt, encoded: Encoded) -> Tokens:
    """A prompt as the prompt encoder wants it: (tokens, 2) canvas coordinates before its half pixel, and labels."""
    coords = [(point.x, point.y) for point in prompt.points]
    labels = [_FOREGROUND if point.foreground else _BACKGROUND for point in prompt.points]
    if prompt.box is not None:
        coords += [(prompt.box.x_min, prompt.box.y_min), (prompt.box.x_max, prompt.box.y_max)]
        labels += [_BOX_MIN, _BOX_MAX]
    scale = np.array(encoded.input_size[::-1]) / np.array(encoded.image_size[::-1])
    mapped = (np.array(coords, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5
    if prompt.box is None and prompt.points:
        mapped, labels = np.concatenate([mapped, np.zeros((1, 2))]), [*labels, _PADDING]
    return mapped.astype(np.float32), labels


def _bilinear(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False)
