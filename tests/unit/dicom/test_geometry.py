"""Where DICOM pixels lie: in the patient, on a detector, in a calibrated plane, or nowhere known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.geometry import DetectorFrame, Frame, PatientFrame, PixelFrame, PlaneFrame, pixel_to_patient
from hilum.images import read_image
from tests.unit.dicom.conftest import WriteDicom, groups, item

PATIENT = {
    "ImagePositionPatient": ["-10", "20", "30"],
    "ImageOrientationPatient": ["0", "1", "0", "0", "0", "-1"],
    "PixelSpacing": ["2.5", "0.5"],
    "SliceThickness": "3",
    "FrameOfReferenceUID": "1.2.840.1",
}


def frame_of(write_dicom: WriteDicom, ramp: NDArray[np.uint16], **attributes: Any) -> Frame:
    """The frame that a file with these attributes is read with."""
    return read_image(write_dicom(ramp, **attributes)).geometry.frame


def test_position_orientation_and_spacing_give_the_patient_frame(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16]
) -> None:
    """A point maps as PS3.3 C.7.6.2.1.1 says: columns along the first cosines, rows along the second."""
    frame = frame_of(write_dicom, ramp, **PATIENT)
    assert isinstance(frame, PatientFrame)
    np.testing.assert_allclose(pixel_to_patient(frame, [[4, 2]])[0], [-10, 20 + 4 * 0.5, 30 - 2 * 2.5])
    assert frame.spacing_mm == (0.5, 2.5, 3)
    assert frame.frame_of_reference_uid == "1.2.840.1"
    np.testing.assert_allclose(np.asarray(frame.direction)[:, 2], [-1, 0, 0])


def test_each_frame_has_its_own_place(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Functional groups place every frame, per frame or shared."""
    per_frame = [{"PlanePositionSequence": item(ImagePositionPatient=["0", "0", str(height)])} for height in (5, 8)]
    shared = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"]),
        "PixelMeasuresSequence": item(PixelSpacing=["1", "1"], SliceThickness="3"),
    }
    path = write_dicom(
        np.stack([ramp, ramp]),
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=groups(shared),
        PerFrameFunctionalGroupsSequence=groups(*per_frame),
    )
    for number, height in ((1, 5), (2, 8)):
        frame = read_image(path, frame=number).geometry.frame
        assert isinstance(frame, PatientFrame)
        assert frame.origin_mm == (0, 0, height)
        assert frame.spacing_mm == (1, 1, 3)


def test_dose_planes_lie_at_their_offsets(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """RT Dose has one position and an offset per frame along the normal."""
    axial = {**PATIENT, "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}
    path = write_dicom(
        np.stack([ramp, ramp]), NumberOfFrames=2, Modality="RTDOSE", GridFrameOffsetVector=["0", "4"], **axial
    )
    frame = read_image(path, frame=2).geometry.frame
    assert isinstance(frame, PatientFrame)
    assert frame.origin_mm == pytest.approx((-10, 20, 34))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"ImagerPixelSpacing": ["0.2", "0.1"]}, DetectorFrame((0.1, 0.2))),
        (
            {"ImagerPixelSpacing": ["0.2", "0.1"], "EstimatedRadiographicMagnificationFactor": "1.25"},
            DetectorFrame((0.1, 0.2), 1.25),
        ),
        ({"ImagerPixelSpacing": ["0.2", "0.2"], "PixelSpacing": ["0.2", "0.2"]}, DetectorFrame((0.2, 0.2))),
        ({"ImagerPixelSpacing": ["0.2", "0.2"], "PixelSpacing": ["0.16", "0.16"]}, DetectorFrame((0.2, 0.2), 1.25)),
        ({"PixelSpacing": ["0.2", "0.2"]}, DetectorFrame((0.2, 0.2))),
        (
            {"PixelSpacing": ["0.2", "0.2"], "PixelSpacingCalibrationType": "FIDUCIAL"},
            DetectorFrame((0.2, 0.2), 1.0),
        ),
        ({"PixelSpacing": ["0", "0"]}, PixelFrame()),
        ({}, PixelFrame()),
    ],
)
def test_radiographs_lie_on_their_detector(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], attributes: dict[str, Any], expected: Frame
) -> None:
    """Lengths in the patient are claimed only with a magnification factor or a calibration (PS3.3 10.7)."""
    frame = frame_of(write_dicom, ramp, Modality="DX", **attributes)
    if isinstance(frame, DetectorFrame) and isinstance(expected, DetectorFrame):
        assert frame.imager_pixel_spacing_mm == expected.imager_pixel_spacing_mm
        assert frame.magnification == (
            None if expected.magnification is None else pytest.approx(expected.magnification)
        )
    else:
        assert frame == expected


REGION = {
    "RegionSpatialFormat": 1,
    "PhysicalUnitsXDirection": 3,
    "PhysicalUnitsYDirection": 3,
    "PhysicalDeltaX": 0.02,
    "PhysicalDeltaY": -0.03,
}


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([REGION], PlaneFrame((0.2, 0.3))),
        ([REGION, {**REGION, "RegionSpatialFormat": 3, "PhysicalUnitsXDirection": 4}], PlaneFrame((0.2, 0.3))),
        ([REGION, REGION], PlaneFrame((0.2, 0.3))),
        ([REGION, {**REGION, "PhysicalDeltaX": 0.04}], PixelFrame()),
        ([{**REGION, "PhysicalUnitsXDirection": 0}], PixelFrame()),
        ([{**REGION, "PhysicalDeltaX": 0.0}], PixelFrame()),
    ],
)
def test_ultrasound_is_calibrated_where_its_regions_agree(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], regions: list[dict[str, Any]], expected: Frame
) -> None:
    """Two-dimensional regions in centimetres give millimetres a pixel; contradictions and other units give none."""
    frame = frame_of(write_dicom, ramp, Modality="US", SequenceOfUltrasoundRegions=groups(*regions))
    if isinstance(expected, PlaneFrame):
        assert isinstance(frame, PlaneFrame)
        assert frame.spacing_mm == pytest.approx(expected.spacing_mm)
    else:
        assert frame == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({**PATIENT, "ImageOrientationPatient": ["0", "0", "0", "0", "0", "0"]}, PlaneFrame((0.5, 2.5))),
        ({**PATIENT, "ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, PlaneFrame((0.5, 2.5))),
        ({**PATIENT, "PixelSpacing": ["0", "0"]}, PixelFrame()),
        ({"PixelSpacing": ["2.5", "0.5"]}, PlaneFrame((0.5, 2.5))),
        ({"ImagePositionPatient": ["0", "0", "0"]}, PixelFrame()),
    ],
)
def test_what_is_malformed_is_not_guessed(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], attributes: dict[str, Any], expected: Frame
) -> None:
    """Impossible cosines place nothing in the patient, zero spacing means pixels."""
    assert frame_of(write_dicom, ramp, **attributes) == expected
