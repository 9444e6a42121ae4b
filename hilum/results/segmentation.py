"""Masks as a DICOM Segmentation (SEG) that refers to the images it was made from. Needs the extra `images`.

Source: DICOM PS3.3 A.51 and C.8.20.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hilum
from hilum.errors import FrameNotSupported, InvalidField, LimitExceeded, NoContent
from hilum.extras import extra
from hilum.files import reading
from hilum.results.segments import NOTICE, Segment, chosen_segments, score_words
from hilum.types import Prediction

with extra("images"):
    import highdicom
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
    from pydicom import dcmread
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code
    from pydicom.uid import generate_uid

# What 3D Slicer too writes for a segment of which nothing more is known.
TISSUE = Code("85756007", "SCT", "Tissue")
_MAX_VALUES = 1 << 29
_LONGEST_LABEL = 64


@dataclass(frozen=True)
class _Slice:
    """The segments of one frame of one source image."""

    dataset: Dataset
    frame: int
    segments: tuple[Segment, ...]


def write_segmentation(
    path: str | os.PathLike[str],
    sources: Sequence[str | os.PathLike[str]],
    predictions: Sequence[Prediction],
    *,
    labels: Sequence[str] = (),
    property_type: Code = TISSUE,
) -> None:
    """Writes the masks as a BINARY segmentation: a segment per prompt, a frame per slice where it is not empty.

    Patient, study and frame of reference come from the source files, to which every frame refers by SOP Instance UID
    and frame number. Model, decoder revision and "not for diagnosis" are written with every segment, and as its
    description the score of its mask; of several slices, that of the mask with the lowest.

    Args:
        path: Of the DICOM file.
        sources: DICOM files of the images; several files are slices of one series.
        predictions: Of images read from these files, in any order. Prompt n of each is the same target.
        labels: One per prompt, or none.
        property_type: What the segments are, as a code of SNOMED CT; "Tissue" where nothing more is known.

    Raises:
        UnreadableImage: A source is no DICOM file.
        FrameNotSupported: A multi-frame source has no Frame of Reference UID, so that its frames have no place, or a
            source lacks what the standard requires.
        NoContent: All masks are empty.
        InvalidField: Predictions do not belong to the sources, or have different numbers of prompts.
        LimitExceeded: Frames times pixels times segments are too many for one file.
    """
    datasets = [_opened(Path(source)) for source in sources]
    slices = [_slice(datasets, prediction, labels) for prediction in predictions]
    if len({len(item.segments) for item in slices}) != 1:
        raise InvalidField("all need the same number of prompts, and there must be at least one", field="predictions")
    if not any(segment.predicted.mask.any() for item in slices for segment in item.segments):
        raise NoContent("all masks are empty: there is nothing to write")
    used = [dataset for dataset in datasets if any(item.dataset is dataset for item in slices)]
    written = _segmentation(used, slices, _descriptions(slices, predictions[0], property_type))
    written.SeriesDescription = f"Hilum segmentation, {NOTICE}"
    if "FrameOfReferenceUID" not in written:
        # Required then, and highdicom leaves it out; it may be empty (PS3.3 C.7.6.1).
        written.PatientOrientation = used[0].get("PatientOrientation")
    written.save_as(path)


def _segmentation(used: Sequence[Dataset], slices: Sequence[_Slice], segments: list[SegmentDescription]) -> Dataset:
    values = _pixel_array(used, slices)
    try:
        written: Dataset = highdicom.seg.Segmentation(
            source_images=used,
            pixel_array=values,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=generate_uid(),
            series_number=int(used[0].get("SeriesNumber") or 0) + 1000,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="Hilum",
            manufacturer_model_name="Hilum",
            software_versions=f"hilum {hilum.__version__}",
            device_serial_number="1",
            content_label="SEGMENTATION",
            content_description=NOTICE,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # highdicom copies and checks what the standard requires of the source, and stops at the first gap.
        reason = (
            f"{error}" if isinstance(error, ValueError) else f"the source lacks what the standard requires: {error}"
        )
        raise FrameNotSupported(f"DICOM SEG cannot refer to these files: {reason}") from error
    return written


def _opened(path: Path) -> Dataset:
    with reading(path):
        dataset = dcmread(path, stop_before_pixels=True)
        if "Rows" not in dataset:
            raise ValueError("it is no image")
    if "NumberOfFrames" in dataset and int(dataset.NumberOfFrames) > 1 and "FrameOfReferenceUID" not in dataset:
        raise FrameNotSupported(
            f"{path.name} has several frames and no Frame of Reference UID, like ultrasound, so that DICOM SEG cannot "
            "place them: write a picture or a report"
        )
    return dataset


def _slice(datasets: Sequence[Dataset], prediction: Prediction, labels: Sequence[str]) -> _Slice:
    """Finds the frame that a prediction was made from."""
    uid, frame = prediction.source.sop_instance_uid, prediction.source.frame_number or 1
    found = next((dataset for dataset in datasets if dataset.SOPInstanceUID == uid), None)
    if found is None:
        raise InvalidField("was made from none of the source files", field="prediction")
    if not 1 <= frame <= int(found.get("NumberOfFrames") or 1):
        raise InvalidField(f"was made from frame {frame}, which the source file does not have", field="prediction")
    segments = chosen_segments(prediction, labels=labels)
    for segment in segments:
        if segment.predicted.mask.shape != (found.Rows, found.Columns):
            raise InvalidField(f"mask of {segment.predicted.mask.shape} for another image", field="prediction")
    return _Slice(found, frame, segments)


def _pixel_array(used: Sequence[Dataset], slices: Sequence[_Slice]) -> NDArray[np.uint8]:
    """(frames of all sources, rows, columns, segments)."""
    counts = [int(dataset.get("NumberOfFrames") or 1) for dataset in used]
    shape = (sum(counts), int(used[0].Rows), int(used[0].Columns), len(slices[0].segments))
    if np.prod(shape, dtype=np.int64) > _MAX_VALUES:
        raise LimitExceeded(f"{shape} values are too many for one segmentation: write fewer frames or segments")
    values = np.zeros(shape, np.uint8)
    for item in slices:
        first = sum(counts[: next(k for k, dataset in enumerate(used) if dataset is item.dataset)])
        for segment in item.segments:
            values[first + item.frame - 1, :, :, segment.number - 1] |= segment.predicted.mask.view(np.uint8)
    return values


def _descriptions(slices: Sequence[_Slice], prediction: Prediction, property_type: Code) -> list[SegmentDescription]:
    algorithm: Any = highdicom.AlgorithmIdentificationSequence(
        name=prediction.model,
        family=codes.DCM.ArtificialIntelligence,
        version=prediction.decoder_revision[:_LONGEST_LABEL],
        parameters={"encoder_revision": prediction.encoder_revision, "decoder_revision": prediction.decoder_revision},
    )
    descriptions = [
        SegmentDescription(
            segment_number=segment.number,
            segment_label=segment.label[:_LONGEST_LABEL],
            segmented_property_category=TISSUE,
            segmented_property_type=property_type,
            # A person gave the prompt.
            algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=generate_uid(),
            tracking_id=segment.label[:_LONGEST_LABEL],
        )
        for segment in slices[0].segments
    ]
    for index, description in enumerate(descriptions):
        masks = [item.segments[index].predicted for item in slices]
        drawn = [mask for mask in masks if mask.mask.any()] or masks
        description.SegmentDescription = score_words(min(drawn, key=lambda mask: mask.model_score))
    return descriptions
