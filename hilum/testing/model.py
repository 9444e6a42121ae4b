"""What a fake says of the model that it does not have."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hilum.errors import PromptNotSupported
from hilum.types import Prompt

EMBEDDING_SHAPE = (1, 16, 16)
LOW_RES_SIZE = 256


@dataclass(frozen=True)
class FakeModel:
    """A model to pretend.

    Attributes:
        name: As in GetCapabilities.
        image_size_px: Side of its square input; regions are chosen after it.
        points: Whether points are accepted.
        box: Whether boxes are.
        mask_input: Whether mask inputs are.
        single_click: Whether the single mask is said to answer one click best.
        calibrated: DICOM modalities on which it knows what its scores are worth: .1 less than they say.
        abstain_below: Expected IoU below which it abstains.
    """

    name: str = "fake"
    image_size_px: int = 256
    points: bool = True
    box: bool = True
    mask_input: bool = True
    single_click: bool = False
    calibrated: frozenset[str] = frozenset({"CT"})
    abstain_below: float = 0.65

    @property
    def encoder_revision(self) -> str:
        """SHA-256 (hex) of the name."""
        return hashlib.sha256(f"fake encoder {self.name}".encode()).hexdigest()

    @property
    def decoder_revision(self) -> str:
        """SHA-256 (hex) of the name."""
        return hashlib.sha256(f"fake decoder {self.name}".encode()).hexdigest()

    def input_size(self, image_size: tuple[int, int], pixel_aspect: float) -> tuple[int, int]:
        """Returns (height, width) of an image on the canvas: square pixels, the longest side fits."""
        height, width = image_size[0] * pixel_aspect, float(image_size[1])
        scale = self.image_size_px / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def check_kinds(prompt: Prompt, model: FakeModel, field: str) -> None:
    """Refuses a prompt that a model does not accept; PromptNotSupported."""
    given = (
        ("points", bool(prompt.points), model.points),
        ("box", prompt.box is not None, model.box),
        ("mask_input", prompt.mask_input is not None, model.mask_input),
    )
    for kind, is_given, works in given:
        if is_given and not works:
            raise PromptNotSupported(f"{model.name} was not trained on {kind}", field=f"{field}.{kind}")
