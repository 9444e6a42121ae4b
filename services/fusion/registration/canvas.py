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

from hilum.errors import InvalidField, NoContent

_MIN_SIDE = 8
_LARGEST_ASPECT = 20.0
_LARGEST_EXTENT_RATIO = 20.0
_LARGEST_STEP = 4.0
"""Image pixels per canvas pixel beyond which averaging comes before the Gaussian, whose cost grows with them."""
_SAMPLES_ACROSS = 1024
"""Pixels along the longer side that the range of an image's values is taken from."""
_FAR = 1e3
"""Scaled values end here: one absurd pixel must not make its neighbours' descriptors infinite."""
_DISTANCE_CAP = 0.15
"""Signed distances end at this many working units: farther away they say nothing about the outline."""


@dataclass(frozen=True, eq=False)
class RegistrationImage:
    """One of the two images of a registration.

    Attributes:
        pixels: (height, width), any real dtype; NaN and infinities count as padding.
        spacing_mm: pixel spacing (x, y) in mm, or None when unknown. With one image without spacing, both are
            taken to show the same field of view.
        valid: bool (height, width), false for padding; None when every pixel counts.
        targets: bool (height, width) each, the structures that must agree, in the other image's order.
    """

    pixels: NDArray[Any]
    spacing_mm: tuple[float, float] | None = None
    valid: NDArray[np.bool_] | None = None
    targets: tuple[NDArray[np.bool_], ...] = ()

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Pixels that are finite and valid."""
        finite = np.isfinite(self.pixels)
        return np.asarray(finite if self.valid is None else finite & self.valid, np.bool_)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.pixels.shape
        return height, width

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in mm, or in pixels without spacing."""
        height, width = self.pixels.shape
        x, y = self.spacing_mm or (1.0, 1.0)
        return width * x, height * y

    def check(self, field: str) -> None:
        """Refuse what cannot be registered.

        Args:
            field: the path of this image in the request.

        Raises:
            InvalidField: shapes or spacing are impossible.
            NoContent: the pixels are constant or all padding, or a target is empty.
        """
        shape = self.pixels.shape
        if self.pixels.ndim != 2 or min(shape) < _MIN_SIDE:
            raise InvalidField(f"needs (height, width) of at least 8 each, has {shape}", field=f"{field}.pixels")
        if self.spacing_mm is not None and not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise InvalidField(f"needs two positive numbers, has {self.spacing_mm}", field=f"{field}.spacing_mm")
        if self.spacing_mm is not None and max(self.spacing_mm) > _LARGEST_ASPECT * min(self.spacing_mm):
            raise InvalidField(
                f"the spacing {self.spacing_mm} makes pixels more than {_LARGEST_ASPECT:g} times as long as wide",
                field=f"{field}.geometry",
            )
        if self.valid is not None and self.valid.shape != shape:
            raise InvalidField(f"has shape {self.valid.shape}, the pixels {shape}", field=f"{field}.valid")
        for index, target in enumerate(self.targets):
            if target.shape != shape:
                raise InvalidField(f"has shape {target.shape}, the pixels {shape}", field=f"{field}.targets[{index}]")
            if not target.any():
                raise NoContent(
                    "the target has no pixel: outline it again or leave it out", field=f"{field}.targets[{index}]"
                )
        values = self.pixels[self.usable]
        if values.size == 0 or values.min() == values.max():
            raise NoContent("all usable pixels have one value: nothing can be aligned", field=f"{field}.pixels")


@dataclass(frozen=True, eq=False)
class Canvas:
    """An image on a square canvas in working space (see alignment.py).

    Attributes:
        pixels: float32 (n, n); the 1st and 99th percentile of the usable pixels lie at 0 and 1.
        valid: float32 (n, n), 1 on usable pixels, 0 elsewhere.
        distances: float32 (targets, n, n), signed distance to each target's outline over its cap: 1 deep
            inside, -1 far outside.
    """

    pixels: Tensor
    valid: Tensor
    distances: Tensor

    @property
    def target_centre(self) -> Tensor:
        """Mean (x, y) of the targets' centroids in working space, float64; there must be targets."""
        side = self.pixels.shape[0]
        centres = [torch.nonzero(distance > 0).double().mean(dim=0).flip(0) for distance in self.distances]
        return (2.0 * torch.stack(centres).mean(dim=0) + 1.0) / side - 1.0

    def halved(self) -> Canvas:
        """The same canvas at half the resolution; pixels are means of the usable ones they cover."""
        weight = halve(self.valid[None])[0]
        means = halve(torch.stack([self.pixels * self.valid, self.pixels]))
        pixels = torch.where(weight > 0, means[0] / weight.clamp(min=1e-6), means[1])
        distances = halve(self.distances) if len(self.distances) else self.distances.new_zeros(0, *weight.shape)
        return Canvas(pixels, (weight > 0.5).float(), distances)

    def mirrored(self, axis: int) -> Canvas:
        """Its mirror image, along rows (0) or columns (1)."""
        return Canvas(self.pixels.flip(axis), self.valid.flip(axis), self.distances.flip(axis + 1))


def halve(channels: Tensor) -> Tensor:
    """Channels (c, n, n) at half the resolution, means of four pixels."""
    return F.avg_pool2d(channels[None], 2)[0]


def canvas_extents(fixed: RegistrationImage, moving: RegistrationImage) -> tuple[float, float]:
    """The side of the canvas in each image's units: shared when both have spacing, else each image's own.

    Raises:
        InvalidField: one image is more than 20 times as large as the other.
    """
    own = max(fixed.extent), max(moving.extent)
    if fixed.spacing_mm is None or moving.spacing_mm is None:
        return own
    if max(own) > _LARGEST_EXTENT_RATIO * min(own):
        raise InvalidField(
            f"the fixed image is {own[0]:.3g} mm long and the moving image {own[1]:.3g} mm, more than "
            f"{_LARGEST_EXTENT_RATIO:g} times apart: check the spacings",
            field="moving.geometry",
        )
    return max(own), max(own)


def working_from_pixel(image: RegistrationImage, canvas_extent: float) -> NDArray[np.float64]:
    """The 3x3 matrix from pixel indices (x, y) of the image to working space.

    The image's centre is the origin; `canvas_extent` is the side of the canvas in the units of `image.extent`.
    """
    height, width = image.pixels.shape
    x, y = (2.0 * s / canvas_extent for s in image.spacing_mm or (1.0, 1.0))
    return np.array([[x, 0.0, -x * (width - 1) / 2], [0.0, y, -y * (height - 1) / 2], [0.0, 0.0, 1.0]])


def draw(image: RegistrationImage, canvas_extent: float, size: int) -> Canvas:
    """Draw an image onto a canvas of `size` pixels, low-pass filtered where that loses resolution."""
    usable = image.usable
    low, high = _value_range(image.pixels, usable)
    scaled = _scaled(np.where(usable, image.pixels, low), low, high)

    def place(array: NDArray[np.float32], border: int) -> NDArray[np.float32]:
        return _place(array, image, canvas_extent, size, border)

    weight = place(usable.astype(np.float32), cv2.BORDER_REPLICATE)
    inside = place(np.ones(usable.shape, np.float32), cv2.BORDER_CONSTANT) > 0.5
    pixels = place((scaled * usable).astype(np.float32), cv2.BORDER_REPLICATE) / np.maximum(weight, 1e-3)
    valid = inside & (weight > 0.5)
    targets = [place(target.astype(np.float32), cv2.BORDER_CONSTANT) for target in image.targets]
    distances = [_signed_distance(target, valid) for target in targets]
    return Canvas(
        torch.from_numpy(pixels),
        torch.from_numpy(valid.astype(np.float32)),
        torch.stack(distances) if distances else torch.zeros(0, size, size),
    )


def _value_range(pixels: NDArray[Any], usable: NDArray[np.bool_]) -> tuple[float, float]:
    """1st and 99th percentile of the usable pixels, of a large image of a part of them; else the outermost values."""
    stride = max(1, max(pixels.shape) // _SAMPLES_ACROSS)
    sampled = pixels[::stride, ::stride][usable[::stride, ::stride]]
    if sampled.size:
        low, high = np.percentile(sampled, (1, 99))
        if low < high:
            return float(low), float(high)
    return float(pixels[usable].min()), float(pixels[usable].max())


def _scaled(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Pixels so that low and high lie at 0 and 1; in float64, in which no range of float32 overflows or vanishes."""
    scaled = pixels.astype(np.float64)
    scaled -= low
    scaled /= high - low
    return np.clip(scaled, -_FAR, _FAR, out=scaled).astype(np.float32)


def draw_mask(mask: NDArray[np.bool_], image: RegistrationImage, canvas_extent: float, size: int) -> Tensor:
    """Draw a mask of an image onto a canvas: float32 (size, size), the share of each canvas pixel that it covers."""
    return torch.from_numpy(_place(mask.astype(np.float32), image, canvas_extent, size, cv2.BORDER_CONSTANT))


def _place(
    array: NDArray[np.float32], image: RegistrationImage, canvas_extent: float, size: int, border: int
) -> NDArray[np.float32]:
    """An array of the image's shape on the canvas, low-pass filtered; beyond it the border repeats or is zero."""
    # OpenCV wants the image's pixels of canvas pixels.
    step = 2.0 / size
    working_from_canvas = np.array([[step, 0.0, step / 2 - 1], [0.0, step, step / 2 - 1], [0.0, 0.0, 1.0]])
    pixel_from_canvas = (np.linalg.inv(working_from_pixel(image, canvas_extent)) @ working_from_canvas)[:2]
    averaged, matrix = _averaged(array, pixel_from_canvas)
    smooth = _low_pass(averaged, (matrix[0, 0], matrix[1, 1]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(smooth, matrix, (size, size), flags=flags, borderMode=border), np.float32)


def _averaged(
    array: NDArray[np.float32], pixel_from_canvas: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """An array of at most 4 pixels per canvas pixel, and the 2x3 matrix from the canvas to it."""
    steps = pixel_from_canvas[0, 0], pixel_from_canvas[1, 1]
    height, width = array.shape
    size = tuple(
        max(1, round(side * min(1.0, _LARGEST_STEP / step))) for side, step in zip((width, height), steps, strict=True)
    )
    if size == (width, height):
        return array, pixel_from_canvas
    averaged = np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA), np.float32)
    scale = np.array(size) / (width, height)
    matrix = pixel_from_canvas * scale[:, None]
    matrix[:, 2] += (scale - 1) / 2
    return averaged, matrix


def _low_pass(array: NDArray[np.float32], step: tuple[float, float]) -> NDArray[np.float32]:
    """A Gaussian that keeps what sampling every `step` (x, y) pixels can show."""
    sigma_x, sigma_y = (0.4 * max(s - 1.0, 0.0) for s in step)
    if max(sigma_x, sigma_y) < 0.1:
        return array
    return np.asarray(cv2.GaussianBlur(array, (0, 0), max(sigma_x, 0.01), sigmaY=max(sigma_y, 0.01)), np.float32)


def _signed_distance(coverage: NDArray[np.float32], valid: NDArray[np.bool_]) -> Tensor:
    # A target smaller than a canvas pixel still has its brightest pixel.
    mask = coverage >= min(0.5, float(coverage.max()))
    # Where the image ends the target may go on: that is no outline.
    inside = cv2.distanceTransform((mask | ~valid).astype(np.uint8), cv2.DIST_L2, 5)
    inside[~mask] = 0
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    distance = (inside - outside) * (2.0 / mask.shape[0])
    return torch.from_numpy(np.clip(distance / _DISTANCE_CAP, -1, 1).astype(np.float32))
