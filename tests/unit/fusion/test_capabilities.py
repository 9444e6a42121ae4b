"""What the service says of itself."""

from __future__ import annotations

import importlib
import shlex

import pytest

from hilum.fusion_capabilities import VerifiedPair
from services.fusion.capabilities import VERIFIED_PAIRS, fusion_capabilities
from services.fusion.settings import FusionSettings


@pytest.mark.parametrize("pair", VERIFIED_PAIRS, ids=str)
def test_every_verified_pair_has_its_benchmark(pair: VerifiedPair) -> None:
    """The command that a pair names is a benchmark of this repository with these options."""
    program, switch, module, *options = shlex.split(pair.benchmark)
    assert (program, switch) == ("python", "-m")
    usage = importlib.import_module(module).__doc__ or ""
    for option in (word for word in options if word.startswith("--")):
        assert f"[{option}" in usage, option


def test_what_no_benchmark_measures_is_not_verified() -> None:
    """Ultrasound was never measured, and of MR not every pair registers."""
    named = {name for pair in VERIFIED_PAIRS for name in (pair.fixed_modality, pair.moving_modality)}
    assert named == {"CT", "CR", "DX"}


def test_limits_are_those_of_the_settings() -> None:
    """What the service holds requests to is what it tells."""
    settings = FusionSettings(max_image_pixels=123, max_volume_bytes=456)
    limits = fusion_capabilities(settings).limits
    assert (limits.max_image_pixels, limits.max_volume_bytes) == (123, 456)
    assert limits.max_message_bytes == settings.max_message_bytes
