"""Pictures with known content for the tests of fusion."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]


def body_phantom(size: int = 256) -> Picture:
    """A body with organs of different brightness, vessels and a spine, on a dark background; values in [0, 1]."""
    scale = size / 256
    picture = np.zeros((size, size), np.float32)

    def ellipse(place: tuple[int, int], radii: tuple[int, int], angle: float, value: float) -> None:
        centre, axes = ((round(a * scale), round(b * scale)) for a, b in (place, radii))
        cv2.ellipse(picture, centre, axes, angle, 0, 360, value, -1, cv2.LINE_AA)

    ellipse((128, 130), (96, 76), 5, 0.35)
    ellipse((88, 105), (36, 28), 30, 0.55)
    ellipse((170, 110), (26, 34), -20, 0.2)
    ellipse((128, 172), (14, 18), 0, 0.9)
    ellipse((80, 165), (16, 22), 40, 0.65)
    ellipse((178, 165), (15, 21), -35, 0.65)
    ellipse((128, 140), (7, 7), 0, 0.8)
    ellipse((150, 150), (5, 9), 60, 0.75)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0 * scale), np.float32)


def tissue_phantom(size: int = 256, seed: int = 0) -> Picture:
    """The body with structure everywhere, so that a bend shows everywhere, not only across its outlines."""
    body = body_phantom(size)
    noise = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)
    blobs: Picture = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3.0 * size / 256), np.float32)
    return np.asarray(body + 0.12 * blobs / blobs.std() * (body > 0.1), np.float32)


def other_modality(picture: Picture, seed: int = 0) -> Picture:
    """The same content seen otherwise: a non-monotone intensity map, uneven illumination and noise."""
    height, width = picture.shape
    y, x = np.mgrid[:height, :width] / max(height, width)
    mapped = np.sin(4.5 * picture) * 0.5 + 0.3 * picture
    shaded = mapped * (1.0 + 0.3 * (x - 0.5) + 0.2 * (y - 0.5))
    noise = np.random.default_rng(seed).normal(0, 0.02, picture.shape)
    return np.asarray(shaded + noise, np.float32)


def motion(
    size: tuple[int, int], rotation_deg: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float64]:
    """The fixed_to_moving matrix of a rotation and scale about the centre of (height, width), then a shift (x, y)."""
    angle = np.deg2rad(rotation_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = centre - turn @ centre + np.array(shift)
    return matrix


def moved(picture: Picture, fixed_to_moving: NDArray[np.float64]) -> Picture:
    """The picture after the motion: what lies at x in `picture` lies at fixed_to_moving · x in the result."""
    height, width = picture.shape
    return np.asarray(cv2.warpAffine(picture, fixed_to_moving[:2], (width, height), flags=cv2.INTER_CUBIC), np.float32)


def registration_error(found: NDArray[np.float64], true: NDArray[np.float64], picture: Picture) -> NDArray[np.float64]:
    """Distance in moving pixels between both images of each pixel of the picture's body."""
    rows, columns = np.nonzero(picture > 0.1)
    points = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float64)
    return np.asarray(np.linalg.norm(((found - true) @ points)[:2], axis=0))


def bent(picture: Picture, amplitude_px: float = 5.0) -> tuple[Picture, NDArray[np.float64]]:
    """The picture after a bend in waves, and where each of its pixels then lies: float64 (2, height, width)."""
    height, width = picture.shape
    pixels = np.stack(np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)))

    def origins(places: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = places[0] * 2 * np.pi / width, places[1] * 2 * np.pi / height
        return places + amplitude_px * np.stack([np.sin(1.5 * y + 0.5), np.sin(2 * x + y)])

    x, y = origins(pixels).astype(np.float32)
    moving = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    places = pixels.copy()
    for _ in range(60):
        places += pixels - origins(places)
    return np.asarray(moving, np.float32), places
