"""Masks as NIfTI label images, in place in the patient. Needs the extra `images`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import FrameNotSupported, InvalidField
from hilum.extras import extra
from hilum.generation import Generation
from hilum.geometry import Float, PatientFrame
from hilum.results.generation import labels_of, largest_first
from hilum.results.segments import NOTICE, SIMULATED, Segment, chosen_segments, require_same_size
from hilum.types import Image, Prediction, Volume

with extra("images"):
    import nibabel

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ALIGNED_TO_SCANNER = 1
# NIfTI has no unknown thickness.
_THICKNESS_WHERE_UNKNOWN_MM = 1.0
_MAX_DESCRIPTION = 79


def write_nifti(
    path: str | os.PathLike[str], image: Image, prediction: Prediction, *, labels: Sequence[str] = ()
) -> None:
    """Writes the masks as one slice of labels: 0 is background, n the n-th prompt's mask.

    The file has axes (x, y, slice) and the affine of the image's place in the patient, so that viewers lay it over the
    image that it came from. A slice of unknown thickness is written as 1 mm thick.

    Args:
        path: .nii or .nii.gz.
        image: The image that was segmented.
        prediction: What `predict` returned for it.
        labels: One per prompt, or none; only checked, as NIfTI has no place for them.

    Raises:
        FrameNotSupported: The image has no place in the patient.
        InvalidField: Masks of two prompts overlap, or do not fit the image.
    """
    frame = _frame(image)
    segments = chosen_segments(prediction, labels=labels)
    require_same_size(image, segments)
    _write(path, image, frame, _label_image(image, segments), prediction)


def write_generation_nifti(path: str | os.PathLike[str], image: Image, generation: Generation) -> None:
    """Writes everything that was found as one slice of labels, in place as `write_nifti` does; the largest mask is 1.

    Where masks lie on one another the smallest has the voxel, so that a mask may be seen in part, or not at all: the
    report has all of them.

    Args:
        path: .nii or .nii.gz.
        image: The image that was searched.
        generation: What `generate_masks` returned for it.

    Raises:
        FrameNotSupported: The image has no place in the patient.
        InvalidField: Masks do not fit the image.
    """
    _write(path, image, _frame(image), labels_of(image.size, largest_first(image, generation)), generation)


def write_volume(path: str | os.PathLike[str], volume: Volume, *, notes: Sequence[str] = ()) -> None:
    """Writes grey values, axes (x, y, slice), with the affine of the volume's place in the patient.

    Args:
        path: .nii or .nii.gz.
        volume: The volume.
        notes: Noted in the header as far as it has room, such as the flags of the transform that made it.

    Raises:
        FrameNotSupported: The volume has no place in the patient.
    """
    frame = _frame(volume)
    make: Any = nibabel.Nifti1Image  # nibabel is typed in parts only
    _save(path, make(volume.voxels.transpose(2, 1, 0), _affine(frame)), [NOTICE, *notes])


def _frame(image: Image | Volume) -> PatientFrame:
    frame = image.geometry.frame
    if not isinstance(frame, PatientFrame):
        raise FrameNotSupported("the image has no place in the patient, which NIfTI needs: write a picture or a report")
    return frame


def _write(
    path: str | os.PathLike[str],
    image: Image,
    frame: PatientFrame,
    labels: NDArray[np.uint16],
    result: Prediction | Generation,
) -> None:
    make: Any = nibabel.Nifti1Image  # nibabel is typed in parts only
    written = make(labels.T[:, :, None], _affine(frame))
    notes = [NOTICE, *([SIMULATED] if image.source.simulated else [])]
    notes.append(f"{result.model} {result.decoder_revision[:12]}")
    _save(path, written, notes)


def _save(path: str | os.PathLike[str], written: Any, notes: Sequence[str]) -> None:
    written.header["descrip"] = "; ".join(notes)[:_MAX_DESCRIPTION]
    written.header.set_xyzt_units("mm")
    written.set_sform(written.affine, _ALIGNED_TO_SCANNER)
    written.set_qform(written.affine, _ALIGNED_TO_SCANNER)
    nibabel.save(written, path)


def _label_image(image: Image, segments: Sequence[Segment]) -> NDArray[np.uint16]:
    labels = np.zeros(image.size, np.uint16)
    for segment in segments:
        mask = segment.predicted.mask
        if labels[mask].any():
            other = int(labels[mask].max())
            raise InvalidField(
                f"masks {other} and {segment.number} overlap, which labels cannot hold: write DICOM SEG, or one by one",
                field="prediction",
            )
        labels[mask] = segment.number
    return labels


def _affine(frame: PatientFrame) -> Float:
    """Voxel indices (x, y, slice) to RAS in mm."""
    spacing = (*frame.spacing_mm[:2], frame.spacing_mm[2] or _THICKNESS_WHERE_UNKNOWN_MM)
    to_lps = np.eye(4)
    to_lps[:3, :3] = np.asarray(frame.direction) * spacing
    to_lps[:3, 3] = frame.origin_mm
    affine: Float = _LPS_TO_RAS @ to_lps
    return affine
