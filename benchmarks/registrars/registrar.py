"""What a way of registering is, and how two images are brought to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.fusion.registration import RegistrationImage

Picture = NDArray[np.float32]
Places = NDArray[np.float64]


class Registrar(Protocol):
    """Registers two images on one thread."""

    def __call__(self, fixed: RegistrationImage, moving: RegistrationImage) -> Places:
        """Where each fixed pixel lies on the moving image, (height, width, 2)."""


class Load(Protocol):
    """Loads a library in the process that is to use it, for one thread; a value that can be sent to that process."""

    def __call__(self) -> Registrar:
        """The registrar.

        Raises:
            ImportError: the library is not installed.
        """


@dataclass(frozen=True, eq=False)
class Grey:
    """An image as peers take it.

    Attributes:
        pixels: the 1st and 99th percentile of what is exposed lie at 0 and 1; clipped beyond; 0 elsewhere.
        mask: uint8, 1 where the image is exposed; None where it is everywhere.
    """

    pixels: Picture
    mask: NDArray[np.uint8] | None

    @classmethod
    def of(cls, image: RegistrationImage) -> Grey:
        """Scale an image."""
        usable = image.usable
        low, high = np.percentile(image.pixels[usable], (1, 99))
        scaled = np.clip((image.pixels - low) / (high - low), 0, 1)
        mask = None if usable.all() else usable.astype(np.uint8)
        return cls(np.where(usable, scaled, 0).astype(np.float32), mask)


def pixel_places(size: tuple[int, int]) -> Places:
    """(height, width, 2): the (x, y) of every pixel."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return np.stack([x, y], axis=-1)
