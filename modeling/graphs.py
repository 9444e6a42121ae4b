"""The five graphs of a bundle: torch modules with their names and free dimensions, written as ONNX."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from modeling.image_encoder import exportable
from modeling.mask_decoder import MaskDecoder, PreparedImage, ReadPrompts

OPSET = 17
# A protobuf file ends at 2 GB; weights move to a file of their own well before.
EXTERNAL_DATA_BYTES = 1_500_000_000


@dataclass(frozen=True)
class Graph:
    """A module to export.

    Attributes:
        role: its name in the manifest.
        module: what is traced.
        inputs: example inputs by name, in the order of the module's arguments.
        outputs: names of the outputs.
        free: names of free dimensions by input or output name and axis.
    """

    role: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: Sequence[str]
    free: dict[str, dict[int, str]]

    @property
    def filename(self) -> str:
        """The file's name in the bundle."""
        return f"{self.role}.onnx"


class ImageSide(nn.Module):
    """`MaskDecoder.prepare` as a graph."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, image_embedding: Tensor) -> PreparedImage:
        """See `MaskDecoder.prepare`."""
        return self.decoder.prepare(image_embedding)


class PromptReading(nn.Module):
    """`MaskDecoder.read` as a graph: the prepared image's fields are inputs of their own."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, point_coords: Tensor, point_labels: Tensor, *prepared: Tensor) -> ReadPrompts:
        """See `MaskDecoder.read`."""
        return self.decoder.read(PreparedImage(*prepared), point_coords, point_labels)


class MaskDrawing(nn.Module):
    """`MaskDecoder.draw` as a graph."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, position: Tensor, tokens: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor]:
        """See `MaskDecoder.draw`."""
        return self.decoder.draw(PreparedImage(*prepared), ReadPrompts(position, tokens))


class PromptSideWithMask(nn.Module):
    """`MaskDecoder.with_mask` as a graph."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor, image_tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `MaskDecoder.with_mask`."""
        return self.decoder.with_mask(image_tokens, point_coords, point_labels, mask_input)


def decoder_graphs(model: Any) -> Iterator[Graph]:
    """The four graphs of the mask decoder, of a model with `prompt_encoder` and `mask_decoder`."""
    with torch.no_grad():
        decoder = MaskDecoder(model.prompt_encoder, model.mask_decoder).eval()
    height, width = model.prompt_encoder.image_embedding_size
    embedding = torch.rand(1, model.prompt_encoder.embed_dim, height, width)
    yield Graph("mask_decoder_image", ImageSide(decoder), {"image_embedding": embedding}, PreparedImage._fields, {})
    points = {
        "point_coords": torch.rand(2, 3, 2) * (model.prompt_encoder.input_image_size[0] - 1),
        "point_labels": torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]]),
    }
    with torch.no_grad():
        prepared = decoder.prepare(embedding)
        read = decoder.read(prepared, **points)
    outputs = ("low_res_masks", "iou_predictions")
    free = {name: {0: "prompts"} for name in ("mask_input", *outputs)}
    free |= {name: {0: "prompts", 1: "points"} for name in points}
    free |= {name: {0: "prompts", 1: "tokens"} for name in ReadPrompts._fields}
    image = prepared._asdict()
    yield Graph("mask_decoder_prompts", PromptReading(decoder), points | image, ReadPrompts._fields, free)
    yield Graph("mask_decoder", MaskDrawing(decoder), read._asdict() | image, outputs, free)
    masks = {"mask_input": torch.randn(2, 1, 4 * height, 4 * width), "image_tokens": prepared.image_tokens}
    yield Graph("mask_decoder_with_mask", PromptSideWithMask(decoder), points | masks, outputs, free)


def encoder_graph(model: Any, image_size: int) -> Graph:
    """The graph of a model's `image_encoder`."""
    inputs = {"image": torch.rand(1, 3, image_size, image_size)}
    free = {"image": {0: "batch"}, "image_embedding": {0: "batch"}}
    return Graph("image_encoder", exportable(model.image_encoder), inputs, ("image_embedding",), free)


def write_graph(graph: Graph, folder: Path, external_data_bytes: int = EXTERNAL_DATA_BYTES) -> None:
    """Export to `folder`; weights above `external_data_bytes` lie in a file of their own beside the graph."""
    names = {*graph.inputs, *graph.outputs}
    with TemporaryDirectory(dir=folder) as scratch, _quiet_exporter(), torch.no_grad():
        path = Path(scratch) / graph.filename
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            str(path),  # a Path is refused above 2 GB
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: axes for name, axes in graph.free.items() if name in names},
            opset_version=OPSET,
            dynamo=False,
        )
        weights_bytes = sum(tensor.nbytes for tensor in graph.module.state_dict().values())
        onnx.save_model(
            onnx.load(path),
            folder / graph.filename,
            save_as_external_data=weights_bytes > external_data_bytes,
            location=f"{graph.filename}.data",
        )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of every shape it fixes: those are the bundle's own, and `verification` checks them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
