"""Capabilities of the fusion service on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.fusion_capabilities import capabilities_from_message, capabilities_to_message
from hilum.errors import InvalidField
from hilum.fusion_capabilities import FusionCapabilities, FusionLimits, VerifiedPair
from hilum.registration_options import TransformModel
from hilum.types import ViewRelation
from hilum.v1 import fusion_service_pb2 as pb

SIZES = st.integers(0, 2**64 - 1)
PAIRS = st.builds(VerifiedPair, st.text(), st.text(), st.sampled_from(ViewRelation), st.text(), st.text())
CAPABILITIES = st.builds(
    FusionCapabilities,
    st.text(),
    st.text(),
    st.builds(FusionLimits, SIZES, SIZES, SIZES),
    st.lists(st.sampled_from(TransformModel)).map(tuple),
    st.lists(PAIRS, max_size=3).map(tuple),
)


@given(CAPABILITIES)
def test_capabilities_come_back(capabilities: FusionCapabilities) -> None:
    """What a service says of itself arrives as it was said."""
    assert capabilities_from_message(capabilities_to_message(capabilities)) == capabilities


def test_what_a_newer_service_adds_is_passed_over() -> None:
    """Models and view relations that this client does not know are left out, the rest stays."""
    message = pb.FusionServiceGetCapabilitiesResponse(limits=pb.FusionLimits())
    message.transform_models.extend([pb.TRANSFORM_MODEL_RIGID, pb.TransformModel.ValueType(99)])
    message.verified_pairs.add(fixed_modality="CT", view_relation=pb.ViewRelation.ValueType(99))
    found = capabilities_from_message(message)
    assert found.transform_models == (TransformModel.RIGID,)
    assert found.verified_pairs == ()


def test_limits_are_required() -> None:
    """An answer without limits is no answer."""
    with pytest.raises(InvalidField):
        capabilities_from_message(pb.FusionServiceGetCapabilitiesResponse())
