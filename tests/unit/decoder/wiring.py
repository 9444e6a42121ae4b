"""A decoder's model without graphs: logits that tests choose."""

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.serving.bundle import Bundle, Manifest, Normalisation, PromptKinds
from services.decoder.embeddings import DecoderModel, HotImage
from services.decoder.mask_decoder import LowResMasks, PreparedImage

SIDE, LOW_RES = 64, 16
SHAPE = (2, 4, 4)
REVISION = "a" * 64
ALL = PromptKinds(points=True, box=True, mask_input=True)


def bundle(**changes: Any) -> Bundle:
    """Returns a bundle without files, some fields of its manifest changed."""
    manifest = Manifest(
        format_version=1,
        name="m",
        architecture="none",
        encoder_revision=REVISION,
        decoder_revision="d" * 64,
        image_size=SIDE,
        normalisation=Normalisation("min_max"),
        resize="longest_side_pad_right_bottom",
        embedding_shape=SHAPE,
        low_res_mask_size=LOW_RES,
        mask_threshold=0.0,
        prompts=ALL,
        licence="Apache-2.0",
        source="none",
        created_with={},
        files={},
        graphs={},
        weights="",
    )
    return Bundle(Path("nowhere"), dataclasses.replace(manifest, **changes))


class Drawing:
    """In the place of OnnxMaskDecoder: the logits are 5 left of the prompt's first coordinate, -5 right of it.

    Mask k of the four ends k low-resolution columns earlier; the score is the coordinate's hundredth.

    Attributes:
        calls: Shapes of point_coords, and whether there was a mask input, call by call.
        prepared: How many images were prepared.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], bool]] = []
        self.prepared = 0

    def prepare(self, image_embedding: NDArray[np.float32]) -> PreparedImage:
        """Keeps the embedding."""
        self.prepared += 1
        return PreparedImage(MappingProxyType({"image": image_embedding}))

    def decode(self, prepared: PreparedImage, coords: Any, labels: Any, mask_input: Any = None) -> LowResMasks:
        """Draws; without a point the edge lies where the mask input's first row changes its sign."""
        del prepared, labels
        self.calls.append((coords.shape, mask_input is not None))
        edges = coords[:, 0, 0] if coords.shape[1] else (mask_input[:, 0, 0] > 0).sum(axis=1) * (SIDE / LOW_RES)
        columns = (np.arange(LOW_RES) + 0.5) * SIDE / LOW_RES
        shifted = edges[:, None] - np.arange(4) * (SIDE / LOW_RES)
        inside = columns[None, None, None] < shifted[:, :, None, None]
        logits = np.broadcast_to(np.where(inside, 5, -5), (len(edges), 4, LOW_RES, LOW_RES)).astype(np.float32)
        return LowResMasks(logits, (shifted / 100).astype(np.float32))


def model(decoder: Any, **changes: Any) -> DecoderModel:
    """Returns a model that decodes with this."""
    return DecoderModel(bundle(**changes), decoder)


def hot(
    decoder: Any, image_size: tuple[int, int] = (64, 64), input_size: tuple[int, int] = (64, 64), **changes: Any
) -> HotImage:
    """Returns an image that is ready for prompts."""
    return HotImage(model(decoder, **changes), PreparedImage(MappingProxyType({})), image_size, input_size)
