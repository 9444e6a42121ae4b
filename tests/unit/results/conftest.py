"""Predictions to be written."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from hilum.masks import bounding_box
from hilum.types import Image, ImageSource, PredictedMask, Prediction

MODEL, ENCODER_REVISION, DECODER_REVISION = "lite-medsam", "a1" * 32, "d2" * 32


def predicted(
    mask: NDArray[np.bool_], score: float = 0.9, expected_iou: float | None = None, abstain: bool | None = None
) -> PredictedMask:
    """A mask as the decoder returns it."""
    reason = "" if mask.any() else "NO_LOGIT_ABOVE_THRESHOLD"
    return PredictedMask(
        mask,
        mask,
        score,
        0.8,
        int(mask.sum()),
        bounding_box(mask),
        reason,
        expected_iou=expected_iou,
        abstain=abstain,
    )


def prediction(source: ImageSource, *masks: NDArray[np.bool_]) -> Prediction:
    """One mask per prompt."""
    answers = tuple((predicted(mask),) for mask in masks)
    return Prediction(answers, MODEL, ENCODER_REVISION, DECODER_REVISION, ("memory",), {}, source)


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> NDArray[np.bool_]:
    """A round mask."""
    rows, columns = np.indices(size)
    inside: NDArray[np.bool_] = np.hypot(columns - x, rows - y) <= radius
    return inside


def pydicom_file(name: str) -> Path:
    """A real DICOM file that the pydicom wheel holds; nothing is downloaded."""
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom's wheel holds no {name}")
    return Path(str(path))


@pytest.fixture
def grey_image() -> Image:
    """40 rows, 60 columns, in pixels."""
    return Image(np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1)))
