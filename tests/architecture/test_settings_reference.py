"""docs/reference/settings.md lists every setting of every service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hilum.serving.settings import ServiceSettings
from services.decoder.settings import DecoderSettings
from services.encoder.settings import EncoderSettings
from services.fusion.settings import FusionSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


@pytest.mark.parametrize("settings", [EncoderSettings, DecoderSettings, FusionSettings])
def test_every_setting_is_listed(settings: type[ServiceSettings]) -> None:
    """Each setting of a service stands in the reference under the service's name or among those of all."""
    sections = PAGE.read_text().split("\n## ")
    name = settings.__name__.removesuffix("Settings")
    ours = [section for section in sections if section.startswith(("All services", name))]
    listed = set(re.findall(r"`HILUM_([A-Z_]+)`", "".join(ours)))
    assert {field.upper() for field in settings.model_fields} <= listed


def test_nothing_is_listed_that_is_no_setting() -> None:
    """Each variable in the tables belongs to a service."""
    listed = set(re.findall(r"^\| `HILUM_([A-Z_]+)`", PAGE.read_text(), re.MULTILINE))
    known = {
        field.upper() for kind in (EncoderSettings, DecoderSettings, FusionSettings) for field in kind.model_fields
    }
    assert listed == known
