"""DICOM's Modality on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.modality import modality_from_message, modality_to_message
from hilum.errors import InvalidField
from hilum.types import ImageSource


@given(st.text())
def test_what_is_sent_is_accepted(modality: str) -> None:
    """Whatever a file calls its modality, what is sent of it is accepted: itself, or nothing."""
    sent = modality_to_message(ImageSource(modality=modality))
    assert sent in (modality, "")
    assert modality_from_message(sent, "modality") == sent.strip(" ")


@pytest.mark.parametrize("modality", ["ct", "A" * 17, "CT\n", "Röntgen"])
def test_what_is_no_code_string_is_refused(modality: str) -> None:
    """Lower case, more than 16 characters, line ends and other letters are refused, and never sent."""
    with pytest.raises(InvalidField):
        modality_from_message(modality, "modality")
    assert modality_to_message(ImageSource(modality=modality)) == ""
