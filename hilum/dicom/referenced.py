"""DICOM images that an object refers to: their identity, and the patient and study that it shares with them.

Source: DICOM PS3.3 C.7.1.1 (patient), C.7.2.1 (study), C.12.2 (common instance reference), 10.3 (image reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from hilum.errors import FrameNotSupported, InvalidField
from hilum.files import reading

_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_READ = (
    *_PATIENT,
    *_STUDY,
    *_IDENTITY,
    *("SpecificCharacterSet", "FrameOfReferenceUID", "PositionReferenceIndicator", "SeriesNumber", "Rows"),
    *("BodyPartExamined", "Laterality"),
)


@dataclass(frozen=True)
class ReferencedImages:
    """Images of one patient, study, series and frame of reference.

    Attributes:
        headers: One per file; only what is copied or referred to.
        frame: From 1, where one frame of a multi-frame file is meant.
    """

    headers: tuple[Dataset, ...]
    frame: int | None = None

    @classmethod
    def read(cls, paths: Sequence[Path], frame: int | None = None) -> ReferencedImages:
        """Reads the headers of the files of a slice or a series.

        Raises:
            UnreadableImage: A file is no DICOM image.
            FrameNotSupported: A file lacks an identity, or a Frame of Reference UID.
            InvalidField: There is no file, or they are of several series or frames of reference.
        """
        headers = tuple(_header(path) for path in paths)
        if not headers:
            raise InvalidField("there is no DICOM image to refer to", field="files")
        if len({(header.SeriesInstanceUID, header.FrameOfReferenceUID) for header in headers}) > 1:
            raise InvalidField(
                "they are of several series or frames of reference: name the files of one", field="files"
            )
        return cls(headers, frame)

    @property
    def frame_of_reference_uid(self) -> str:
        """(0020,0052)."""
        return str(self.headers[0].FrameOfReferenceUID)

    def is_same_patient(self, other: ReferencedImages) -> bool:
        """Whether both have the same Patient ID."""
        first, second = (str(images.headers[0].get("PatientID") or "") for images in (self, other))
        return first == second

    def copy_patient_and_study(self, target: Dataset) -> None:
        """Puts patient, study, frame of reference and side of the body into an object; what is unknown stays empty."""
        header = self.headers[0]
        if "SpecificCharacterSet" in header:
            target.SpecificCharacterSet = header.SpecificCharacterSet
        for keyword in (*_PATIENT, *_STUDY, "PositionReferenceIndicator"):
            setattr(target, keyword, header.get(keyword))
        target.StudyInstanceUID = header.StudyInstanceUID
        target.FrameOfReferenceUID = header.FrameOfReferenceUID
        # Required of paired parts of the body; empty where the part is not known to be one or not to be.
        target.Laterality = header.get("Laterality")
        if target.Laterality and "BodyPartExamined" in header:
            target.BodyPartExamined = header.BodyPartExamined

    def image_references(self) -> DicomSequence:
        """Returns a Referenced Image Sequence."""
        return DicomSequence(_reference(header, self.frame) for header in self.headers)


def refer_to_instances(target: Dataset, images: Sequence[ReferencedImages]) -> None:
    """Lists every image by series, those of the object's own study apart from those of others."""
    headers = {str(header.SOPInstanceUID): header for group in images for header in group.headers}
    by_study = groupby(sorted(headers.values(), key=_series_key), key=lambda header: str(header.StudyInstanceUID))
    others = []
    for study, members in by_study:
        series = DicomSequence(_series(list(group)) for _, group in groupby(members, key=_series_key))
        if study == target.StudyInstanceUID:
            target.ReferencedSeriesSequence = series
        else:
            item = Dataset()
            item.StudyInstanceUID = study
            item.ReferencedSeriesSequence = series
            others.append(item)
    if others:
        target.StudiesContainingOtherReferencedInstancesSequence = DicomSequence(others)


def _series_key(header: Dataset) -> tuple[str, str]:
    return str(header.StudyInstanceUID), str(header.SeriesInstanceUID)


def _series(headers: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = headers[0].SeriesInstanceUID
    item.ReferencedInstanceSequence = DicomSequence(_reference(header, None) for header in headers)
    return item


def _reference(header: Dataset, frame: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def _header(path: Path) -> Dataset:
    with reading(path):
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(_READ))
        if "Rows" not in header:
            raise ValueError("it is no DICOM image")
    for keyword in (*_IDENTITY, "FrameOfReferenceUID"):
        if not header.get(keyword):
            raise FrameNotSupported(f"{path.name} has no {keyword}, so that no registration can refer to it")
    return header
