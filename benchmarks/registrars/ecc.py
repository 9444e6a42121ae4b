"""OpenCV's enhanced correlation coefficient: affine, on edge strength, from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.registrars.registrar import Grey, Picture, Places, Registrar, pixel_places
from examples.demo.known_warp import mapped
from services.fusion.registration import RegistrationImage

_LEVELS = (4, 2, 1)


@dataclass(frozen=True)
class Ecc:
    """Settings of a grid that was tried.

    Attributes:
        edges: whether Sobel magnitudes are compared instead of intensities.
        blur_px: side of the Gaussian window that it smooths by.
    """

    edges: bool = True
    blur_px: int = 5

    def __call__(self) -> Registrar:
        """One thread."""
        cv2.setNumThreads(1)
        return self._register

    def _register(self, fixed: RegistrationImage, moving: RegistrationImage) -> Places:
        matrix = np.eye(2, 3, dtype=np.float32)
        pictures = [self._seen(Grey.of(image).pixels) for image in (fixed, moving)]
        for factor in _LEVELS:
            first, second = (
                cv2.resize(picture, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
                for picture in pictures
            )
            # Centres at integers: pixel p of a level is pixel factor (p + .5) - .5 of the image.
            offset = (factor - 1) / 2
            level = matrix.copy()
            level[:, 2] = (matrix[:, :2] @ np.full(2, offset) + matrix[:, 2] - offset) / factor
            criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-5)
            try:
                _, found = cv2.findTransformECC(
                    first, second, level, cv2.MOTION_AFFINE, criteria, np.ones(second.shape, np.uint8), self.blur_px
                )
            except cv2.error:
                # It has lost its way; what the coarser level found stays.
                continue
            level = np.asarray(found, np.float32)
            matrix = level.copy()
            matrix[:, 2] = factor * level[:, 2] + offset - level[:, :2] @ np.full(2, offset)
        return mapped(np.vstack([matrix, [0, 0, 1]]).astype(np.float64), pixel_places(fixed.size))

    def _seen(self, pixels: Picture) -> Picture:
        if not self.edges:
            return pixels
        strength = np.hypot(cv2.Sobel(pixels, cv2.CV_32F, 1, 0), cv2.Sobel(pixels, cv2.CV_32F, 0, 1))
        return np.asarray(strength, np.float32)
