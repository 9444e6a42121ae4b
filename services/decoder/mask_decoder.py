"""The mask decoder: a bundle's decoder graphs in ONNX Runtime.

Coordinates here are SAM's own: pixels of the model's square input, x to the right and y down, where SAM adds
half a pixel itself. Whoever calls converts from the image's frame.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
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
    """Decodes prompts on CPU. Calls may come from several threads; the graphs run without the GIL.

    One prompt uses all threads of a graph. Several prompts read the image together, in one run; then they run side
    by side, one thread and one graph run each: a run's 4 MiB intermediates stay in the processor's cache, and
    threads that never wait for one another are worth more than threads that share every operation. Memory does
    not grow with the number of prompts either.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Load the graphs.

        Args:
            bundle: an installed bundle.
            threads: threads one call may use.
        """
        self._image = _session(bundle.graph("mask_decoder_image"), threads)
        self._prompts = _session(bundle.graph("mask_decoder_prompts"), threads)
        self._without_mask = _PromptGraph(bundle.graph("mask_decoder"), threads)
        self._with_mask = _PromptGraph(bundle.graph("mask_decoder_with_mask"), threads)
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="mask-decoder")

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
            point_coords: (B, N, 2), float32, (x, y) in pixels of the model's square input; B is at least 1.
            point_labels: (B, N), float32: -1 padding, 0 background, 1 foreground, 2 and 3 a box's corners.
            mask_input: (B, 1, 4h, 4w), float32, logits such as an earlier call's, or None.
        """
        prompts = {"point_coords": point_coords, "point_labels": point_labels}
        if mask_input is None:
            graph = self._without_mask
            prompts = _run(self._prompts, {**prepared.tensors, **prompts})
        else:
            graph = self._with_mask
            prompts["mask_input"] = mask_input
        if len(point_coords) == 1:
            return graph.decode_alone(prepared, prompts)
        answer = graph.empty_answer(len(point_coords))
        turns = [
            self._workers.submit(graph.decode_beside, prepared, _only(prompts, i), _only(answer, i))
            for i in range(len(point_coords))
        ]
        for turn in turns:
            turn.result()
        return LowResMasks(**answer)


class _PromptGraph:
    """A decoder graph, to be run alone on all threads or beside others on one."""

    def __init__(self, path: Path, threads: int) -> None:
        self._one_thread = _session(path, 1)
        self._all_threads = self._one_thread if threads == 1 else _session(path, threads)

    def empty_answer(self, count: int) -> dict[str, Float32Array]:
        return {node.name: np.empty((count, *node.shape[1:]), np.float32) for node in self._one_thread.get_outputs()}

    def decode_alone(self, prepared: PreparedImage, prompt: Mapping[str, Float32Array]) -> LowResMasks:
        return LowResMasks(**_run(self._all_threads, {**prepared.tensors, **prompt}))

    def decode_beside(
        self, prepared: PreparedImage, prompt: Mapping[str, Float32Array], answer: Mapping[str, Float32Array]
    ) -> None:
        """Decode one prompt into the arrays of `answer`."""
        binding = self._one_thread.io_binding()
        inputs = {**prepared.tensors, **prompt}
        for node in self._one_thread.get_inputs():
            binding.bind_cpu_input(node.name, inputs[node.name])
        for name, array in answer.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._one_thread.run_with_iobinding(binding)


def _only(arrays: Mapping[str, Float32Array], index: int) -> dict[str, Float32Array]:
    """One row of each array, as a batch of one; no copy."""
    return {name: array[index : index + 1] for name, array in arrays.items()}


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait starve whatever else runs: two of them on two busy cores took five
    # times as long as one, sleeping ones as long as one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: Any, inputs: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Run a graph on those of `inputs` it takes; its outputs by name."""
    wanted = {node.name: inputs[node.name] for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, wanted), strict=True))
