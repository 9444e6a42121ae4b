"""What both kinds of DICOM registration share: whose they are, what made them, and to which images they refer.

Source: DICOM PS3.3 A.39, C.20.1, C.7.5.1, C.7.5.2, C.12.1, table 10-12.
"""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

import hilum
from hilum.dicom.referenced import ReferencedImages, refer_to_instances
from hilum.flag_note import flags_note, noted_flags
from hilum.transform import Transform

_NOTICE = "Not for diagnosis"
_LONGEST_LINE = 64
_MADE_BY = "Hilum"


def registration_object(
    kind: UID, transform: Transform, fixed: ReferencedImages, moving: ReferencedImages, when: datetime
) -> Dataset:
    """Returns a registration without the transform's numbers, in the fixed image's study.

    Args:
        kind: SOP Class UID.
        transform: Its algorithm and its quality flags are written.
        fixed: Images of the Registered RCS.
        moving: Images of the Source RCS.
        when: Content date and time.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = kind
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    fixed.copy_patient_and_study(made)
    made.Modality = "REG"
    made.SeriesInstanceUID = generate_uid()
    made.SeriesNumber = int(fixed.headers[0].get("SeriesNumber") or 0) + 1000
    made.SeriesDescription = f"Hilum registration, {_NOTICE.lower()}"
    made.Manufacturer = made.ManufacturerModelName = _MADE_BY
    made.DeviceSerialNumber = "1"
    made.SoftwareVersions = f"hilum {hilum.__version__}"
    made.InstanceNumber = 1
    made.ContentLabel = "REGISTRATION"
    made.ContentDescription = _description(transform)
    made.ContentCreatorName = None
    made.ContentDate, made.ContentTime = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    made.ContributingEquipmentSequence = Sequence([_equipment(transform)])
    refer_to_instances(made, (fixed, moving))
    return made


def flags_of(registration: Dataset) -> tuple[str, ...]:
    """Returns the quality flags that `registration_object` wrote."""
    parts = registration.get("ContributingEquipmentSequence") or ()
    return noted_flags("\n".join(str(part.get("ContributionDescription") or "") for part in parts))


def coded(code: Code) -> Sequence:
    """Returns a code sequence of one item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return Sequence([item])


def registration_method(transform: Transform) -> Sequence:
    """Returns the Registration Type Code Sequence (CID 7100): image content, or nothing where that is not known."""
    return coded(codes.DCM.ImageContentBasedAlignment) if transform.algorithm else Sequence()


def _description(transform: Transform) -> str:
    words = f"{_NOTICE}; {flags_note(transform.flags)}" if transform.flags else _NOTICE
    return words if len(words) <= _LONGEST_LINE else f"{_NOTICE}; {len(transform.flags)} quality flags, see equipment"


def _equipment(transform: Transform) -> Dataset:
    """The item in which there is room for the algorithm and all flags."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = coded(codes.DCM.ProcessingEquipment)
    item.Manufacturer = item.ManufacturerModelName = _MADE_BY
    item.SoftwareVersions = f"hilum {hilum.__version__}"
    lines = [_NOTICE, f"Algorithm: {transform.algorithm}" if transform.algorithm else "", flags_note(transform.flags)]
    item.ContributionDescription = "\n".join(filter(None, lines))
    return item
