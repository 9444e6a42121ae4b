"""What a mask's model score is worth: expected IoU and abstention, where a calibration speaks of the image."""

from __future__ import annotations

from dataclasses import dataclass

from hilum.serving.bundle import Manifest
from hilum.serving.calibration import ScoreCalibration


@dataclass(frozen=True)
class ScoreWorth:
    """What is said of one mask beside its model score.

    Attributes:
        expected_iou: Mean IoU that masks of this score had, in [0, 1]; 0 for an empty mask.
        abstain: Whether the service would rather not answer.
    """

    expected_iou: float
    abstain: bool


def calibration_for(
    manifest: Manifest, modality: str, *, simulated: bool, cropped: bool = False
) -> ScoreCalibration | None:
    """Returns the calibration that speaks of an image, None where none does.

    Args:
        manifest: Of the model.
        modality: DICOM Modality of the image, "" where it is not known.
        simulated: Whether the image was computed; calibrations are measured on acquired ones.
        cropped: Whether a region of the image was encoded; calibrations are measured on whole ones, and the same score
            says another thing of a small target that fills the canvas.
    """
    return None if simulated or cropped else manifest.calibration.get(modality)


def score_worth(calibration: ScoreCalibration, score: float, *, empty: bool) -> ScoreWorth:
    """Returns what a mask's score is worth.

    Args:
        calibration: Of the image's modality.
        score: The model's estimate of the mask's IoU.
        empty: Whether the mask is empty: it overlaps no target, whatever its score.
    """
    expected = 0.0 if empty else calibration.at(score)
    return ScoreWorth(expected, abstain=empty or expected < calibration.abstain_below)
