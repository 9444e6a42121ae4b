"""Where a DICOM frame's pixels lie.

Source: DICOM PS3.3 C.7.6.2 (image plane), C.7.6.16.2 (functional groups), C.8.5.5 (ultrasound regions), 10.7 (pixel
spacing of projection radiographs).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from hilum.dicom.header import DicomFile, numbers
from hilum.geometry import DetectorFrame, Float, ImageGeometry, PatientFrame, PlaneFrame

# Modalities whose pixels are shadows on a detector.
_PROJECTIONS = frozenset({"CR", "DX", "MG", "XA", "RF", "PX", "IO", "RG", "RTIMAGE"})
_CALIBRATED = frozenset({"GEOMETRY", "FIDUCIAL"})
_CENTIMETRES = 3
_TWO_DIMENSIONAL = 1
_MM_PER_CM = 10


def frame_geometry(file: DicomFile, frame: int) -> ImageGeometry:
    """Returns the geometry of a frame (from 1); what is missing or malformed is not guessed."""
    header = file.dataset
    spacing = plane_spacing(file.functional_group("PixelMeasuresSequence", frame), "PixelSpacing")
    patient = _patient_frame(file, frame, spacing)
    if patient is not None:
        return ImageGeometry(patient)
    if header.get("Modality") in _PROJECTIONS:
        detector = _detector_frame(header, spacing)
        return ImageGeometry() if detector is None else ImageGeometry(detector)
    regions = header.get("SequenceOfUltrasoundRegions")
    spacing = _region_spacing(regions) if regions else spacing
    return ImageGeometry() if spacing is None else ImageGeometry(PlaneFrame(spacing))


def plane_spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Returns a spacing as (x, y) in mm, or None. DICOM stores the distance of rows (y) first."""
    found = numbers(dataset, keyword, 2)
    if found is None or not all(np.isfinite(value) and value > 0 for value in found):
        return None
    return found[1], found[0]


def _patient_frame(file: DicomFile, frame: int, spacing: tuple[float, float] | None) -> PatientFrame | None:
    position = numbers(file.functional_group("PlanePositionSequence", frame), "ImagePositionPatient", 3)
    cosines = numbers(file.functional_group("PlaneOrientationSequence", frame), "ImageOrientationPatient", 6)
    if position is None or cosines is None or spacing is None:
        return None
    position = _dose_plane(file.dataset, position, cosines, frame)
    thickness = numbers(file.functional_group("PixelMeasuresSequence", frame), "SliceThickness", 1) or (0.0,)
    axes = np.reshape(cosines, (2, 3))
    direction = np.column_stack([axes[0], axes[1], np.cross(axes[0], axes[1])])
    try:
        return PatientFrame(
            origin_mm=(position[0], position[1], position[2]),
            direction=_matrix(direction),
            spacing_mm=(*spacing, max(thickness[0], 0.0)),
            frame_of_reference_uid=str(file.dataset.get("FrameOfReferenceUID") or ""),
        )
    except ValueError:
        return None  # cosines that are no unit vectors say nothing about the patient


def _dose_plane(
    header: Dataset, position: tuple[float, ...], cosines: tuple[float, ...], frame: int
) -> tuple[float, ...]:
    """RT Dose stores one position and an offset per frame along the normal. Source: PS3.3 C.8.8.3.2."""
    offsets = numbers(header, "GridFrameOffsetVector")
    if header.get("Modality") != "RTDOSE" or offsets is None or len(offsets) < frame:
        return position
    normal = np.cross(cosines[:3], cosines[3:])
    # Offsets are relative to the first plane, or patient coordinates themselves; then the first is not 0.
    distance = offsets[frame - 1] - offsets[0]
    return tuple((np.asarray(position) + distance * normal).tolist())


def _detector_frame(header: Dataset, pixel_spacing: tuple[float, float] | None) -> DetectorFrame | None:
    """Pixel Spacing alone, or equal to the imager's, is at the detector; calibrated, it tells the magnification."""
    imager = plane_spacing(header, "ImagerPixelSpacing")
    factor = numbers(header, "EstimatedRadiographicMagnificationFactor", 1)
    magnification = factor[0] if factor and np.isfinite(factor[0]) and factor[0] > 0 else None
    calibrated = header.get("PixelSpacingCalibrationType") in _CALIBRATED
    if pixel_spacing is not None and (calibrated or (imager is not None and not np.allclose(imager, pixel_spacing))):
        at_detector = imager or pixel_spacing
        return DetectorFrame(at_detector, at_detector[0] / pixel_spacing[0])
    found = imager or pixel_spacing
    return None if found is None else DetectorFrame(found, magnification)


def _region_spacing(regions: Any) -> tuple[float, float] | None:
    """(x, y) in mm where the two-dimensional regions are calibrated in cm and agree."""
    spacings = set()
    for region in regions:
        if region.get("RegionSpatialFormat") != _TWO_DIMENSIONAL:
            continue
        units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
        x, y = numbers(region, "PhysicalDeltaX", 1), numbers(region, "PhysicalDeltaY", 1)
        if units != {_CENTIMETRES} or x is None or y is None or not x[0] or not y[0]:
            return None
        spacings.add((abs(x[0]) * _MM_PER_CM, abs(y[0]) * _MM_PER_CM))
    return spacings.pop() if len(spacings) == 1 else None


def _matrix(rows: Float) -> Any:
    return tuple(tuple(float(value) for value in row) for row in rows)
