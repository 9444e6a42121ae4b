"""What the fusion service may be trusted with, and what it says of a pair that it may not: the fake and the service."""

from typing import Any

import numpy as np
import pytest

from hilum.v1 import fusion_service_pb2 as pb
from tests.contract.fusing import FIXED, MOVING, fusing, image
from tests.contract.messages import array_of
from tests.contract.refusals import refused
from tests.contract.registered import register
from tests.contract.wiring import MAX_IMAGE_PIXELS, MAX_VOLUME_BYTES, Caller

UNVERIFIED = pb.TRANSFORM_FLAG_UNVERIFIED_MODALITY_PAIR
SLAB = pb.VIEW_RELATION_SLAB_AND_PROJECTION


def capabilities(caller: Caller) -> pb.FusionServiceGetCapabilitiesResponse:
    request = pb.FusionServiceGetCapabilitiesRequest()
    answer: pb.FusionServiceGetCapabilitiesResponse = caller.call("GetCapabilities", request, service="Fusion")
    return answer


def flags(caller: Caller, fixed: str, moving: str, **fields: Any) -> set[int]:
    """Flags of a registration of images that are said to be of these modalities."""
    images = {"fixed": image(FIXED, modality=fixed), "moving": image(MOVING, modality=moving)}
    return set(register(caller, **images, **fields)[1].transform.flags)


def test_capabilities(caller: Caller) -> None:
    """GetCapabilities says version, limits, every transform model, and where each verified pair was measured."""
    found = capabilities(caller)
    assert found.version
    assert found.registration_algorithm == register(caller)[1].transform.algorithm
    assert found.limits.max_image_pixels == MAX_IMAGE_PIXELS
    assert found.limits.max_volume_bytes == MAX_VOLUME_BYTES
    assert found.limits.max_message_bytes >= 1 << 26
    assert set(found.transform_models) == set(pb.TransformModel.values()) - {pb.TRANSFORM_MODEL_UNSPECIFIED}
    assert found.verified_pairs
    for pair in found.verified_pairs:
        assert all((pair.fixed_modality, pair.moving_modality, pair.view_relation, pair.verified_on, pair.benchmark))


def test_listed_pairs_are_not_flagged(caller: Caller) -> None:
    """What GetCapabilities lists is registered without the flag, also with the spaces that DICOM allows."""
    for pair in capabilities(caller).verified_pairs:
        names = f" {pair.fixed_modality} ", pair.moving_modality
        assert UNVERIFIED not in flags(caller, *names, view_relation=pair.view_relation)


@pytest.mark.parametrize(
    ("fixed", "moving", "fields"),
    [("CT", "US", {}), ("US", "US", {}), ("CT", "DX", {"view_relation": SLAB}), ("", "CT", {}), ("CT", "", {})],
    ids=["ultrasound", "ultrasound twice", "a slab", "unknown fixed", "unknown moving"],
)
def test_other_pairs_are_flagged(caller: Caller, fixed: str, moving: str, fields: dict[str, Any]) -> None:
    """A pair, or a view of it, that is not listed is flagged, and so is what is not known."""
    assert UNVERIFIED in flags(caller, fixed, moving, **fields)


def test_an_unverified_pair_is_shown_only_where_accepted_by_name(caller: Caller) -> None:
    """Its transform and the inverse are refused unless the flag is accepted, and then it stands in the picture."""
    images = {"fixed": image(FIXED, modality="CT"), "moving": image(MOVING, modality="US")}
    _, result = register(caller, **images)
    assert UNVERIFIED in result.inverse.flags
    reference = pb.TransformReference(transform_id=result.transform.transform_id)
    others = [flag for flag in result.transform.flags if flag != UNVERIFIED]
    refusal = refused(lambda: caller.call("FuseImages", fusing(transform=reference, accepted_flags=others)))
    assert refusal.reason == "TRANSFORM_FLAGGED"
    fused = caller.call("FuseImages", fusing(transform=reference, accepted_flags=[*others, UNVERIFIED]))
    assert UNVERIFIED in fused.burned_flags
    inherited = pb.Transform.FromString(result.transform.SerializeToString())
    del inherited.flags[:]
    inherited.transform_id = b""
    clean = fusing(transform=pb.TransformReference(transform=inherited))
    assert not np.array_equal(array_of(fused.fused), array_of(caller.call("FuseImages", clean).fused))


@pytest.mark.parametrize("modality", ["ct", "COMPUTED TOMOGRAPHY", "C-T"])
def test_words_that_are_no_modality_are_refused(caller: Caller, modality: str) -> None:
    """A modality is a DICOM code string of at most 16 characters."""
    refusal = refused(lambda: register(caller, moving=image(MOVING, modality=modality)))
    assert (refusal.reason, refusal.field) == ("INVALID_FIELD", "moving.modality")
