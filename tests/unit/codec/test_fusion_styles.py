"""Styles of fusion in requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.fusion_styles import (
    answer_bytes,
    fusion_target,
    style_from_request,
    style_to_request,
    target_contrast_from_response,
    target_contrast_to_message,
)
from hilum.codec.masks import mask_to_message
from hilum.errors import InvalidField, NoContent
from hilum.fusion_style import (
    AlphaBlend,
    BaseRule,
    Checkerboard,
    ColourOverlay,
    Flicker,
    FusionStyle,
    PyramidFusion,
)
from hilum.types import TargetContrast
from hilum.v1 import fusion_service_pb2 as pb

SHARES = st.floats(0, 1)
STYLES = st.one_of(
    st.builds(
        PyramidFusion,
        levels=st.integers(1, 6),
        base_rule=st.sampled_from(BaseRule),
        window_px=st.integers(0, 7).map(lambda half: 2 * half + 1),
        match_threshold=st.floats(-1, 0.99),
        energy_ratio=st.floats(1, 100),
        noise_floor=SHARES,
        background=SHARES,
        gradient_fidelity=st.none() | st.floats(0.001, 1000),
    ),
    st.builds(ColourOverlay, opacity=SHARES),
    st.builds(AlphaBlend, opacity=SHARES),
    st.builds(Checkerboard, tile_px=st.none() | st.integers(1, 4096)),
    st.just(Flicker()),
)


@given(STYLES)
def test_styles_arrive_as_they_were_sent(style: FusionStyle) -> None:
    """Every style with every option comes back from its request, through bytes."""
    request = pb.FuseImagesRequest.FromString(style_to_request(style).SerializeToString())
    assert style_from_request(request) == style


@pytest.mark.parametrize(
    ("number", "style"),
    [
        (pb.FUSION_STYLE_UNSPECIFIED, PyramidFusion()),
        (pb.FUSION_STYLE_PYRAMID, PyramidFusion()),
        (pb.FUSION_STYLE_COLOUR_OVERLAY, ColourOverlay()),
        (pb.FUSION_STYLE_ALPHA_BLEND, AlphaBlend()),
        (pb.FUSION_STYLE_CHECKERBOARD, Checkerboard()),
        (pb.FUSION_STYLE_FLICKER, Flicker()),
    ],
)
def test_absent_options_have_their_defaults(number: Any, style: FusionStyle) -> None:
    """A request that names only the style, or nothing, means the defaults that the contract states."""
    assert style_from_request(pb.FuseImagesRequest(style=number)) == style


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"style": 9}, "style"),
        ({"base_rule": 9}, "base_rule"),
        ({"levels": 7}, "levels"),
        ({"window_px": 2}, "window_px"),
        ({"noise_floor": float("nan")}, "noise_floor"),
        ({"opacity": 0.5}, "opacity"),
        ({"tile_px": 8}, "tile_px"),
        ({"style": pb.FUSION_STYLE_FLICKER, "levels": 3}, "levels"),
        ({"style": pb.FUSION_STYLE_CHECKERBOARD, "background": 0.0}, "background"),
        ({"style": pb.FUSION_STYLE_ALPHA_BLEND, "target": mask_to_message(np.ones((2, 2), bool))}, "target"),
    ],
)
def test_options_that_make_no_sense_are_refused(fields: dict[str, Any], field: str) -> None:
    """Unknown numbers, numbers out of range, and options of another style are refused by name, never passed over."""
    with pytest.raises(InvalidField) as refused:
        style_from_request(pb.FuseImagesRequest(**fields))
    assert refused.value.field == field


def test_targets_have_the_fixed_image_s_size_and_are_not_empty() -> None:
    """A target of another size or without pixels is refused; without one there is none."""
    mask = np.eye(5, dtype=bool)
    assert fusion_target(pb.FuseImagesRequest(), (5, 5)) is None
    found = fusion_target(pb.FuseImagesRequest(target=mask_to_message(mask)), (5, 5))
    assert found is not None
    assert np.array_equal(found, mask)
    with pytest.raises(InvalidField):
        fusion_target(pb.FuseImagesRequest(target=mask_to_message(mask)), (5, 6))
    with pytest.raises(NoContent):
        fusion_target(pb.FuseImagesRequest(target=mask_to_message(np.zeros((5, 5), bool))), (5, 5))


def test_contrast_arrives_as_it_was_sent() -> None:
    """How visible the target is comes back, or that none was given."""
    contrast = TargetContrast(1.5, float("inf"), 0.25)
    response = pb.FuseImagesResponse(target_contrast=target_contrast_to_message(contrast))
    assert target_contrast_from_response(response) == contrast
    assert target_contrast_from_response(pb.FuseImagesResponse()) is None
    assert target_contrast_to_message(None) is None


def test_colours_and_frames_are_counted_before_the_work() -> None:
    """The answer holds the picture's planes and two grey images."""
    counts = [answer_bytes(style, (10, 7)) for style in (PyramidFusion(), ColourOverlay(), Flicker())]
    assert counts == [210, 350, 280]
