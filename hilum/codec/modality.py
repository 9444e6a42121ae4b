"""DICOM's Modality in requests."""

from __future__ import annotations

import re

from hilum.errors import InvalidField
from hilum.types import ImageSource

# DICOM PS3.5 6.2, value representation CS.
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")


def modality_to_message(source: ImageSource) -> str:
    """Returns an image's modality as a request carries it: "" for what is no DICOM Modality, as if unknown."""
    return source.modality if _CODE_STRING.fullmatch(source.modality) else ""


def modality_from_message(modality: str, field: str) -> str:
    """Returns a DICOM Modality without the spaces around it, "" where none is given.

    Raises:
        InvalidField: It is no value of DICOM's CS: longer than 16, or with other than A-Z, 0-9, underscore and space.
    """
    if not _CODE_STRING.fullmatch(modality):
        raise InvalidField("must be a DICOM Modality such as CT: at most 16 of A-Z, 0-9, _ and space", field=field)
    return modality.strip(" ")
