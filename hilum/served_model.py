"""A model that the services have."""

from __future__ import annotations

from dataclasses import dataclass

from hilum.v1 import encoder_service_pb2 as encoder_pb


@dataclass(frozen=True)
class Model:
    """A model that the encoder serves, as GetCapabilities lists it.

    Attributes:
        name: To be passed as `model`.
        encoder_revision: Hex.
        decoder_revision: Hex.
        image_size_px: Side of its square input.
        prompts: Kinds of prompts it was trained on: "points", "box", "mask_input".
        single_click: Whether the single mask answers one click best; otherwise the best scored of three does.
        licence: SPDX licence of the weights.
        backend: "onnx" or "triton".
        compute_precision: Precision class.
    """

    name: str
    encoder_revision: str
    decoder_revision: str
    image_size_px: int
    prompts: frozenset[str]
    single_click: bool
    licence: str
    backend: str
    compute_precision: str


def model_from_message(info: encoder_pb.ModelInfo) -> Model:
    """Returns a model as the encoder lists it."""
    kinds = {"points": info.supports_points, "box": info.supports_box, "mask_input": info.supports_mask_input}
    return Model(
        name=info.name,
        encoder_revision=info.encoder_revision,
        decoder_revision=info.decoder_revision,
        image_size_px=info.image_size_px,
        prompts=frozenset(kind for kind, supported in kinds.items() if supported),
        single_click=info.single_mask_for_click,
        licence=info.licence,
        backend=info.backend,
        compute_precision=info.compute_precision,
    )
