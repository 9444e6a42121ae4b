"""What this service says of itself: above all, between which modalities its registrations were measured.

A pair is listed where a benchmark registers bodies of it whose motion and bend are known, on patients and seeds that no
setting was chosen on, and where all of that pair's benchmarks agree. So MR to MR is missing: pseudo-modalities of MR
are registered well, the apparent diffusion coefficient to high-b-value MR is not (`python -m benchmarks.impossible`).
CT to MR is missing because no such pair with a truth was at hand, and ultrasound because there was none at all.
"""

from __future__ import annotations

from hilum import __version__
from hilum.fusion_capabilities import FusionCapabilities, FusionLimits, VerifiedPair
from hilum.registration_options import TransformModel
from hilum.types import ViewRelation
from services.fusion.registration import ALGORITHM
from services.fusion.settings import FusionSettings

_RADIOGRAPHS = "CR", "DX"
_ON_RADIOGRAPHS = "parallel projections of CT volumes, to simulated radiographs of the moved and bent bodies"
_ON_SLICES = "CT slices, moved and bent, to the same slices through intensity maps, uneven light and noise"
_SLICES = "python -m benchmarks.deformable --kinds b --methods deformable"
_RADIOGRAPHED = "python -m benchmarks.deformable --kinds a --methods deformable"
_REVERSED = "python -m benchmarks.deformable --kinds a --reversed"

VERIFIED_PAIRS = (
    VerifiedPair("CT", "CT", ViewRelation.COMPARABLE, _ON_SLICES, _SLICES),
    *(VerifiedPair("CT", each, ViewRelation.COMPARABLE, _ON_RADIOGRAPHS, _RADIOGRAPHED) for each in _RADIOGRAPHS),
    *(VerifiedPair(each, "CT", ViewRelation.COMPARABLE, _ON_RADIOGRAPHS, _REVERSED) for each in _RADIOGRAPHS),
)


def fusion_capabilities(settings: FusionSettings) -> FusionCapabilities:
    """Returns what a service with these settings can do."""
    limits = FusionLimits(settings.max_message_bytes, settings.max_image_pixels, settings.max_volume_bytes)
    return FusionCapabilities(__version__, ALGORITHM, limits, tuple(TransformModel), VERIFIED_PAIRS)
