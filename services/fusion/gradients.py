"""An image from its gradient: the screened Poisson equation, solved exactly by cosine transforms.

Perez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003, with the screening term of Bhat et al., "Fourier
analysis of the 2D screened Poisson equation for gradient domain problems", ECCV 2008.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Plane = NDArray[np.float32]


def forward_gradient(image: Plane) -> tuple[Plane, Plane]:
    """Differences to the right and to the lower neighbour, float32 (height, width); 0 in the last column and row."""
    along_x, along_y = np.zeros_like(image), np.zeros_like(image)
    np.subtract(image[:, 1:], image[:, :-1], out=along_x[:, :-1])
    np.subtract(image[1:], image[:-1], out=along_y[:-1])
    return along_x, along_y


def from_gradient(image: Plane, along_x: Plane, along_y: Plane, fidelity: float) -> Plane:
    """The f that minimises |grad f - (along_x, along_y)|^2 + fidelity * |f - image|^2, with free edges.

    Args:
        image: float32 (height, width), any size.
        along_x: wanted differences to the right neighbour; the last column does not count.
        along_y: wanted differences to the lower neighbour; the last row does not count.
        fidelity: above 0; structures much wider than 1 / sqrt(fidelity) px stay as in `image`.

    Returns:
        float32 (height, width).
    """
    wanted = np.float32(fidelity) * image
    wanted[:, :-1] -= along_x[:, :-1]
    wanted[:, 1:] += along_x[:, :-1]
    wanted[:-1] -= along_y[:-1]
    wanted[1:] += along_y[:-1]
    down, across = (2.0 - 2.0 * np.cos(np.pi * np.arange(side) / side) for side in image.shape)
    response = (fidelity + down[:, None] + across[None]).astype(np.float32)
    return np.asarray(fft.idctn(fft.dctn(wanted, norm="ortho") / response, norm="ortho"), np.float32)
