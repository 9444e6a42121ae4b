"""`hilum fuse`: how both images are shown, on this side of the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import typer

from hilum import AlphaBlend, BaseRule, Checkerboard, ColourOverlay, Flicker, PyramidFusion, Transform
from hilum.cli.fusion_style import parse_style
from hilum.cli.picture import write_flicker, write_picture
from hilum.fusion_style import FusionStyle
from hilum.transform_file import write_transform
from tests.unit.cli.conftest import Command


@pytest.mark.parametrize(
    ("name", "options", "style"),
    [
        ("pyramid", {}, PyramidFusion()),
        ("pyramid", {"levels": 4, "base_rule": "local-energy"}, PyramidFusion(4, BaseRule.LOCAL_ENERGY)),
        ("pyramid", {"base_rule": "maximum"}, PyramidFusion(base_rule=BaseRule.MAXIMUM)),
        ("pyramid", {"gradient_fidelity": 1.0}, PyramidFusion(gradient_fidelity=1.0)),
        ("overlay", {"opacity": 0.7}, ColourOverlay(0.7)),
        ("blend", {"opacity": 0.0}, AlphaBlend(0.0)),
        ("checkerboard", {"tile_px": 16}, Checkerboard(16)),
        ("flicker", {"opacity": None}, Flicker()),
    ],
)
def test_styles_are_named_with_their_options(name: Any, options: dict[str, Any], style: FusionStyle) -> None:
    """Options that were not given have their defaults."""
    assert parse_style(name, **options) == style


@pytest.mark.parametrize(
    ("name", "options", "hint"),
    [
        ("overlay", {"levels": 3}, "--levels"),
        ("flicker", {"base_rule": "average"}, "--base-rule"),
        ("pyramid", {"tile_px": 8}, "--tile"),
        ("checkerboard", {"tile_px": 0}, "--tile"),
        ("pyramid", {"match_threshold": 1.0}, "--match-threshold"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(name: Any, options: dict[str, Any], hint: str) -> None:
    """An option of another style, or out of its range, is refused under the name it has on the command line."""
    with pytest.raises(typer.BadParameter) as refused:
        parse_style(name, **options)
    assert refused.value.param_hint == hint


def test_colours_are_written_in_colour(tmp_path: Path) -> None:
    """An overlay keeps its colours in the picture, above words in white."""
    overlay = np.random.default_rng(0).integers(0, 255, (390, 400, 3), dtype=np.uint8)
    write_picture(tmp_path / "x.png", [overlay], ["FLAG one"])
    with PIL.Image.open(tmp_path / "x.png") as page:
        assert page.mode == "RGB"
        assert (np.asarray(page)[:390, :400] == overlay).all()
        assert np.asarray(page)[390:].max() > 200


def test_flicker_is_an_animation_without_end(tmp_path: Path) -> None:
    """Both frames are in the file, exactly, shown in turn for ever."""
    frames = np.random.default_rng(0).integers(0, 255, (2, 390, 400), dtype=np.uint8)
    write_flicker(tmp_path / "x.gif", list(frames), ["no quality flags"])
    with PIL.Image.open(tmp_path / "x.gif") as page:
        assert (getattr(page, "n_frames", 0), page.info["loop"], page.info["duration"]) == (2, 0, 500)
        for number, frame in enumerate(frames):
            page.seek(number)
            assert (np.asarray(page.convert("L"))[:390, :400] == frame).all()


@pytest.mark.parametrize(("style", "out"), [("flicker", "fused.png"), ("overlay", "fused.gif")])
def test_flicker_alone_is_a_gif(hilum: Command, picture: Path, tmp_path: Path, style: str, out: str) -> None:
    """Flicker needs a file that can move, the others one that keeps their levels; 2 before anything is sent."""
    path = tmp_path / "transform.json"
    write_transform(path, Transform.from_matrix(np.eye(3), (200, 300), (200, 300)))
    outcome = hilum("fuse", picture, picture, "--transform", path, "--style", style, "--out", tmp_path / out)
    assert outcome.code == 2
    assert "ends in" in outcome.complaint
