"""The mask decoder: a bundle's decoder graphs in ONNX Runtime.

Coordinates here are SAM's own: pixels of the model's square input, x to the right and y down, where SAM adds
half a pixel itself. Whoever calls converts from the image's frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hilum.serving.bundle import Bundle

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class PreparedImage:
    """What all prompts on one image share, computed once from its embedding.

    Attributes:
        tensors: inputs of the decoder graphs by name; opaque, valid for one decoder revision.
    """

    tensors: Mapping[str, Float32Array]

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class LowResMasks:
    """All four masks of each of B prompts.

    Attributes:
        low_res_masks: logits (B, 4, 4h, 4w), float32, over the model's square input including its padding. Mask
            0 is the single answer (multimask_output off), masks 1 to 3 the three of multimask_output.
        iou_predictions: (B, 4), float32, the model's score of each mask.
    """

    low_res_masks: Float32Array
    iou_predictions: Float32Array


class OnnxMaskDecoder:
    """Decodes prompts on CPU. Calls may come from several threads; the graphs run without the GIL."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load the graphs.

        Args:
            bundle: an installed bundle.
            threads: threads one call may use.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads

        def session(role: str) -> Any:
            path = bundle.graph(role)
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        self._image = session("mask_decoder_image")
        self._without_mask = session("mask_decoder")
        self._with_mask = session("mask_decoder_with_mask")

    def prepare(self, image_embedding: Float32Array) -> PreparedImage:
        """Compute what every prompt on an image needs.

        Args:
            image_embedding: (1, C, h, w), float32.
        """
        return PreparedImage(MappingProxyType(_run(self._image, {"image_embedding": image_embedding})))

    def decode(
        self,
        prepared: PreparedImage,
        point_coords: Float32Array,
        point_labels: Float32Array,
        mask_input: Float32Array | None = None,
    ) -> LowResMasks:
        """Decode B prompts on one image.

        The tokens of one prompt are SAM's own, in its order: the points, then, *without a box*, one padding
        point (0, 0) labelled -1, or, *with a box*, its corners (x0, y0) labelled 2 and (x1, y1) labelled 3. So a
        box alone is N = 2, a point alone N = 2, a box with one point N = 3. A mask input alone is N = 0.
        Prompts of different lengths go in different calls: padding points take part in attention.

        Args:
            prepared: from `prepare` of this decoder.
            point_coords: (B, N, 2), float32, (x, y) in pixels of the model's square input.
            point_labels: (B, N), float32: -1 padding, 0 background, 1 foreground, 2 and 3 a box's corners.
            mask_input: (B, 1, 4h, 4w), float32, logits such as an earlier call's, or None.
        """
        prompt = {"point_coords": point_coords, "point_labels": point_labels}
        if mask_input is None:
            outputs = _run(self._without_mask, {**prepared.tensors, **prompt})
        else:
            outputs = _run(self._with_mask, {**prepared.tensors, **prompt, "mask_input": mask_input})
        return LowResMasks(outputs["low_res_masks"], outputs["iou_predictions"])


def _run(session: Any, inputs: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Run a graph on those of `inputs` it takes; its outputs by name."""
    wanted = {node.name: inputs[node.name] for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, wanted), strict=True))
