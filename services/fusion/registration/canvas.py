"""The square canvases on which two images of any size and spacing are registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import InvalidField

_DISTANCE_CAP = 0.15
"""Signed distances are capped at this many working units: farther away they say nothing about the outline."""


@dataclass(frozen=True)
class RegistrationImage:
    """One of the two images of a registration.

    Attributes:
        pixels: (height, width), any real dtype; NaN and infinities count as outside `valid`.
        spacing_mm: pixel spacing (x, y) in mm, or None when unknown. One image without spacing puts the
            registration on pixels: both images are then taken to show the same field of view.
        valid: bool (height, width), false for padding; None when every pixel counts.
        target: bool (height, width), the structure that must agree; None when there is none.
    """

    pixels: NDArray[Any]
    spacing_mm: tuple[float, float] | None = None
    valid: NDArray[np.bool_] | None = None
    target: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or min(self.pixels.shape) < 8:
            raise InvalidField(f"needs at least 8x8 pixels in two dimensions, has {self.pixels.shape}", field="pixels")
        if self.spacing_mm is not None and not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise InvalidField(f"needs two positive numbers or none, has {self.spacing_mm}", field="spacing_mm")
        for name, mask in (("valid", self.valid), ("target", self.target)):
            if mask is not None and mask.shape != self.pixels.shape:
                raise InvalidField(f"has shape {mask.shape}, the pixels have {self.pixels.shape}", field=name)
        if not self.usable.any():
            raise InvalidField("no pixel is finite and valid", field="pixels")

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Pixels that are finite and valid."""
        finite = np.isfinite(self.pixels)
        return finite if self.valid is None else finite & self.valid

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in mm, or in pixels without spacing."""
        height, width = self.pixels.shape
        x, y = self.spacing_mm or (1.0, 1.0)
        return width * x, height * y


@dataclass(frozen=True)
class Canvas:
    """An image on a working canvas.

    Attributes:
        pixels: float32 (n, n); the 1st and 99th percentile of the usable pixels lie at 0 and 1.
        valid: float32 (n, n), 1 on usable pixels, 0 outside the image.
        target_distance: float32 (n, n), signed distance to the target's outline in working units over
            their cap, positive inside; None without a target.
    """

    pixels: Tensor
    valid: Tensor
    target_distance: Tensor | None

    @property
    def target_centroid(self) -> Tensor | None:
        """Centroid (x, y) of the target in working space, float64; None without a target."""
        if self.target_distance is None:
            return None
        rows, columns = torch.nonzero(self.target_distance > 0, as_tuple=True)
        centre = torch.stack([columns.double().mean(), rows.double().mean()])
        return (2.0 * centre + 1.0) / self.pixels.shape[0] - 1.0

    def halved(self) -> Canvas:
        """The same canvas at half the resolution; pixels are means of the usable ones they cover."""
        weight = _halve(self.valid)
        pixels = torch.where(weight > 0, _halve(self.pixels * self.valid) / weight.clamp(min=1e-6), _halve(self.pixels))
        distance = None if self.target_distance is None else _halve(self.target_distance)
        return Canvas(pixels, (weight > 0.5).float(), distance)


def _halve(values: Tensor) -> Tensor:
    return F.avg_pool2d(values[None, None], 2)[0, 0]


@dataclass(frozen=True)
class CanvasPair:
    """Both images at one resolution; working space is the same at all of them."""

    fixed: Canvas
    moving: Canvas

    @property
    def size(self) -> int:
        """Side of the canvases in pixels."""
        return int(self.fixed.pixels.shape[0])

    def halved(self) -> CanvasPair:
        """Both at half the resolution."""
        return CanvasPair(self.fixed.halved(), self.moving.halved())


def working_from_pixel(image: RegistrationImage, canvas_extent: float) -> NDArray[np.float64]:
    """The 3x3 matrix from pixel indices (x, y) of the image to working space.

    The image's centre is the origin; `canvas_extent` is the side of the canvas in the units of `image.extent`.
    """
    height, width = image.pixels.shape
    x, y = (2.0 * s / canvas_extent for s in image.spacing_mm or (1.0, 1.0))
    return np.array([[x, 0.0, -x * (width - 1) / 2], [0.0, y, -y * (height - 1) / 2], [0.0, 0.0, 1.0]])


def canvas_extents(fixed: RegistrationImage, moving: RegistrationImage) -> tuple[float, float]:
    """The side of the canvas in each image's units: shared when both have spacing, else each image's own."""
    own = max(fixed.extent), max(moving.extent)
    if fixed.spacing_mm is None or moving.spacing_mm is None:
        return own
    return max(own), max(own)


def draw(image: RegistrationImage, canvas_extent: float, size: int) -> Canvas:
    """Draw an image onto a canvas of `size` pixels, low-pass filtered where that loses resolution."""
    usable = image.usable
    values = np.where(usable, image.pixels, 0).astype(np.float32)
    low, high = np.percentile(values[usable], (1, 99))
    values = np.where(usable, (values - low) / max(high - low, 1e-6), 0).astype(np.float32)
    weight = usable.astype(np.float32)

    # warpAffine wants image pixels of canvas pixels.
    pixel_from_working = np.linalg.inv(working_from_pixel(image, canvas_extent))
    step = 2.0 / size
    to_working = np.array([[step, 0.0, step / 2 - 1], [0.0, step, step / 2 - 1], [0.0, 0.0, 1.0]])
    pixel_from_canvas = (pixel_from_working @ to_working)[:2]
    sigma_x, sigma_y = (0.4 * max(pixel_from_canvas[i, i] - 1.0, 0.0) for i in (0, 1))

    def place(array: NDArray[np.float32], border: int) -> NDArray[np.float32]:
        if max(sigma_x, sigma_y) > 0.1:
            array = cv2.GaussianBlur(array, (0, 0), max(sigma_x, 0.01), sigmaY=max(sigma_y, 0.01))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(array, pixel_from_canvas, (size, size), flags=flags, borderMode=border)

    placed_weight = place(weight, cv2.BORDER_REPLICATE)
    inside = place(np.ones_like(weight), cv2.BORDER_CONSTANT) > 0.5
    pixels = place(values, cv2.BORDER_REPLICATE) / np.maximum(placed_weight, 1e-3)
    valid = inside & (placed_weight > 0.5)
    return Canvas(
        torch.from_numpy(pixels.astype(np.float32)),
        torch.from_numpy(valid.astype(np.float32)),
        None if image.target is None else _signed_distance(place(image.target.astype(np.float32), 0) > 0.5),
    )


def _signed_distance(mask: NDArray[np.bool_]) -> Tensor:
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    distance = (inside - outside) * (2.0 / mask.shape[0])
    return torch.from_numpy(np.clip(distance / _DISTANCE_CAP, -1, 1).astype(np.float32))
