"""services.decoder.calibration: of which images a calibration speaks, and what it says of a mask."""

from dataclasses import replace

import pytest

from hilum.serving.calibration import ScoreCalibration
from services.decoder.calibration import ScoreWorth, calibration_for, score_worth
from tests.unit.decoder.wiring import bundle

CURVE = ScoreCalibration((0.0, 1.0), (0.2, 0.8), abstain_below=0.5, patients=3, answers=9)


def test_a_calibration_speaks_of_acquired_images_of_its_modality() -> None:
    """Other modalities, unknown ones and simulated images have none."""
    manifest = bundle(calibration={"CT": CURVE, "MR": replace(CURVE, answers=10)}).manifest
    assert calibration_for(manifest, "CT", simulated=False) is CURVE
    assert calibration_for(manifest, "MR", simulated=False) is manifest.calibration["MR"]
    assert calibration_for(manifest, "CT", simulated=True) is None
    assert calibration_for(manifest, "CT", simulated=False, cropped=True) is None
    assert calibration_for(manifest, "DX", simulated=False) is None
    assert calibration_for(manifest, "", simulated=False) is None


@pytest.mark.parametrize(
    ("score", "expected_iou", "abstain"), [(1.0, 0.8, False), (0.5, 0.5, False), (0.4, 0.44, True), (-3, 0.2, True)]
)
def test_a_score_below_the_threshold_abstains(score: float, expected_iou: float, abstain: bool) -> None:
    """The expected IoU follows the curve; at the threshold the service still answers, below it abstains."""
    worth = score_worth(CURVE, score, empty=False)
    assert worth.expected_iou == pytest.approx(expected_iou)
    assert worth.abstain == abstain


def test_an_empty_mask_abstains_whatever_its_score() -> None:
    """A mask without pixels overlaps nothing: its expected IoU is 0."""
    assert score_worth(CURVE, 1.0, empty=True) == ScoreWorth(0.0, abstain=True)
