"""What a fusion service can do, within which limits, and for which pairs of modalities that was verified."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hilum.registration_options import TransformModel
from hilum.types import ViewRelation

UNVERIFIED = "UNVERIFIED_MODALITY_PAIR"
"""Name of the quality flag."""


@dataclass(frozen=True)
class VerifiedPair:
    """Two modalities between which registrations were measured against the truth.

    Attributes:
        fixed_modality: DICOM Modality (0008,0060) of the fixed image, such as "CT".
        moving_modality: Of the moving image.
        view_relation: How the two see the body; CT and a radiograph are comparable where the CT was projected.
        verified_on: What was registered, and what stood in for what.
        benchmark: Command of Hilum's repository that measures it.
    """

    fixed_modality: str
    moving_modality: str
    view_relation: ViewRelation
    verified_on: str
    benchmark: str

    def __str__(self) -> str:
        return f"{self.fixed_modality} to {self.moving_modality}"


@dataclass(frozen=True)
class FusionLimits:
    """What requests are held to.

    Attributes:
        max_message_bytes: Largest message.
        max_image_pixels: Largest number of pixels of one image.
        max_volume_bytes: Largest volume: voxels times the size of one.
    """

    max_message_bytes: int
    max_image_pixels: int
    max_volume_bytes: int


@dataclass(frozen=True)
class FusionCapabilities:
    """What a fusion service says of itself.

    Attributes:
        version: Of the software.
        registration_algorithm: As in Transform.algorithm.
        limits: What requests are held to.
        transform_models: What can be asked for.
        verified_pairs: The pairs that are not flagged UNVERIFIED_MODALITY_PAIR.
    """

    version: str
    registration_algorithm: str
    limits: FusionLimits
    transform_models: tuple[TransformModel, ...]
    verified_pairs: tuple[VerifiedPair, ...]


def pair_doubts(
    fixed_modality: str, moving_modality: str, views: ViewRelation, verified: Iterable[VerifiedPair]
) -> set[str]:
    """Names of quality flags that a pair raises: UNVERIFIED_MODALITY_PAIR, unless it is among the verified ones.

    What is not known was not verified: else a caller could lose the flag by saying less.

    Args:
        fixed_modality: DICOM Modality, "" where not known.
        moving_modality: Of the moving image.
        views: How the two see the body.
        verified: What was verified.
    """
    asked = (fixed_modality, moving_modality, views)
    known = {(pair.fixed_modality, pair.moving_modality, pair.view_relation) for pair in verified}
    return set() if asked in known else {UNVERIFIED}
