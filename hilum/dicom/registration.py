"""Transforms as DICOM Spatial Registration and Deformable Spatial Registration. Needs the extra `images`.

Both relate frames of reference, so both images must lie in the patient and name theirs. The object's own frame of
reference, the Registered RCS, is the fixed image's; the moving image's is a Source RCS. The two kinds run in opposite
directions:

* Spatial Registration holds a matrix per frame of reference that takes its points to the Registered RCS: the moving
  image's matrix is the inverse of `hilum.Transform`'s, fixed to moving (PS3.3 C.20.2.1.1).
* Deformable Spatial Registration takes points of the Registered RCS to the Source RCS in order to sample it, as
  `hilum.Transform` does: first by the displacements of a grid, then by a matrix (PS3.3 C.20.3.1.1).

A transform between two slices is written for these slices alone, the only images referred to. It keeps the distance
from the plane, and its displacements hold within the slice. Transforms of projections are refused: a radiograph has no
place in the patient.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import DeformableSpatialRegistrationStorage, SpatialRegistrationStorage

from hilum.dicom.deformable_registration import deformable_items, deformation
from hilum.dicom.referenced import ReferencedImages
from hilum.dicom.registration_object import flags_of, registration_object
from hilum.dicom.spatial_registration import fixed_to_moving_matrix, registration_items
from hilum.errors import FrameNotSupported, InvalidField
from hilum.files import reading
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.transform_world import from_world, to_world
from hilum.warp import Warp

_READ = (
    *("SOPClassUID", "FrameOfReferenceUID", "ContributingEquipmentSequence"),
    *("RegistrationSequence", "DeformableRegistrationSequence"),
)


def write_registration(
    path: str | os.PathLike[str],
    transform: Transform,
    fixed_files: Sequence[str | os.PathLike[str]],
    moving_files: Sequence[str | os.PathLike[str]],
    *,
    fixed_frame: int | None = None,
    moving_frame: int | None = None,
    accepted_flags: Collection[str] = (),
) -> None:
    """Writes a Spatial Registration, or a Deformable one where the transform has a displacement field.

    It is put into the fixed image's study. Algorithm and flags stand in the Contributing Equipment Sequence, "not for
    diagnosis" and flags in the Content Description.

    Args:
        path: Of the DICOM file.
        transform: Between two volumes or two slices in the patient, with Frame of Reference UIDs.
        fixed_files: DICOM files of the fixed image: of the slice, or of the volume's series.
        moving_files: Of the moving image.
        fixed_frame: From 1, where the fixed image is one frame of a multi-frame file.
        moving_frame: The same of the moving image.
        accepted_flags: Quality flags that the caller accepts by name.

    Raises:
        TransformFlagged: A flag was not accepted.
        FrameNotSupported: An image does not lie in the patient, as a radiograph or a picture, or has no Frame of
            Reference UID.
        InvalidField: The files are not those of the transform's images, or of two patients.
        UnreadableImage: A file is no DICOM image.
        OSError: The file cannot be written.
    """
    transform.require_accepted(accepted_flags)
    fixed_uid, moving_uid = _frames_of_reference(transform.fixed_grid, transform.moving_grid)
    fixed = ReferencedImages.read([Path(file) for file in fixed_files], fixed_frame)
    moving = ReferencedImages.read([Path(file) for file in moving_files], moving_frame)
    for name, images, uid in (("fixed", fixed, fixed_uid), ("moving", moving, moving_uid)):
        if images.frame_of_reference_uid != uid:
            raise InvalidField(f"they have another frame of reference than the {name} image", field=f"{name}_files")
        if len(images.headers) > 1 and not transform.fixed_slices:
            raise InvalidField(
                "the transform is between two slices, and refers to these alone: name one", field=f"{name}_files"
            )
    if not fixed.is_same_patient(moving):
        raise InvalidField("the two images are of different patients, by their Patient ID", field="moving_files")
    world = to_world(transform)
    kind = SpatialRegistrationStorage if world.field is None else DeformableSpatialRegistrationStorage
    written = registration_object(kind, transform, fixed, moving, datetime.now().astimezone())
    if world.field is None:
        written.RegistrationSequence = registration_items(transform, world.matrix, fixed, moving)
    else:
        written.DeformableRegistrationSequence = deformable_items(transform, world.matrix, world.field, moving)
    written.save_as(path, enforce_file_format=True)


def read_registration(path: str | os.PathLike[str], fixed: ImageGrid, moving: ImageGrid) -> Transform:
    """Reads either kind of registration as the transform between two images, whose frames of reference it relates.

    Args:
        path: A DICOM file.
        fixed: The image whose points the transform takes, with its Frame of Reference UID.
        moving: The image that they are taken to, with its own.

    Raises:
        FrameNotSupported: An image does not lie in the patient, or has no Frame of Reference UID; or the registration
            takes a slice out of the other's plane.
        InvalidField: The file is no registration, or does not relate these frames of reference in one way.
        UnreadableImage: The file is damaged, or no DICOM file.
    """
    file = Path(path)
    uids = _frames_of_reference(fixed, moving)
    with reading(file):
        found = dcmread(file, specific_tags=list(_READ))
        if found.SOPClassUID == SpatialRegistrationStorage:
            world = Warp(fixed_to_moving_matrix(found, *uids))
        elif found.SOPClassUID == DeformableSpatialRegistrationStorage:
            world = deformation(found, *uids)
        else:
            raise InvalidField("is no Spatial Registration and no Deformable Spatial Registration", field=file.name)
        flags = flags_of(found)
    return from_world(world, fixed, moving, flags=flags)


def _frames_of_reference(fixed: ImageGrid, moving: ImageGrid) -> tuple[str, str]:
    uids = []
    for name, image in (("fixed", fixed), ("moving", moving)):
        if image.patient_frame is None:
            raise FrameNotSupported(
                f"the {name} image does not lie in the patient, which a DICOM registration needs; a projection never "
                "does: write an ITK or NIfTI file"
            )
        uids.append(image.patient_frame.frame_of_reference_uid)
        if not uids[-1]:
            raise FrameNotSupported(f"the {name} image has no Frame of Reference UID: read it from DICOM files")
    return uids[0], uids[1]
