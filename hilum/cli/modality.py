"""The modality of an image, where its file does not say it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypeAlias, TypeVar

import typer

from hilum.codec.modality import modality_from_message
from hilum.errors import InvalidArgument
from hilum.types import Image, Volume

ModalityOption: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", help="DICOM Modality, such as CT, DX or MR, where the file does not say it.")
]
Shown = TypeVar("Shown", Image, Volume)


def with_modality(image: Shown, modality: str, option: str) -> Shown:
    """Returns the image or volume with the modality that its file does not say.

    Args:
        image: As read.
        modality: As the option has it, "" where it was not given.
        option: Name of the option.

    Raises:
        typer.BadParameter: It is no DICOM Modality, or the file says another.
    """
    if not modality:
        return image
    try:
        named = modality_from_message(modality.upper(), "modality")
    except InvalidArgument as error:
        raise typer.BadParameter(error.message, param_hint=option) from error
    if image.source.modality not in ("", named):
        raise typer.BadParameter(f"the file says that it is {image.source.modality}", param_hint=option)
    return replace(image, source=replace(image.source, modality=named))
