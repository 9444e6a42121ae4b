"""The matrices of a DICOM Spatial Registration.

Source: DICOM PS3.3 C.20.2, and PS3.17 P for the types of matrices.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.valuerep import DSfloat

from hilum.dicom.referenced import ReferencedImages
from hilum.dicom.registration_object import coded, registration_method
from hilum.errors import InvalidField
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.warp import inverted

# DICOM's decimal strings hold about twelve digits.
_ROUNDING = 1e-7


def registration_items(
    transform: Transform, fixed_to_moving: Float, fixed: ReferencedImages, moving: ReferencedImages
) -> Sequence:
    """Returns a Registration Sequence: the fixed images as they lie, and the moving ones brought onto them."""
    same = coded(codes.DCM.FrameOfReferenceIdentity)
    return Sequence(
        [
            _item(fixed, np.eye(4), same),
            _item(moving, inverted(fixed_to_moving), registration_method(transform)),
        ]
    )


def fixed_to_moving_matrix(registration: Dataset, fixed_uid: str, moving_uid: str) -> Float:
    """Returns the matrix (4, 4) that takes LPS points of one frame of reference to another.

    Args:
        registration: A Spatial Registration.
        fixed_uid: Frame of reference of the points taken.
        moving_uid: Frame of reference that they are taken to.

    Raises:
        InvalidField: It relates other frames of reference, or one of these in several ways.
    """
    registered_uid = str(registration.FrameOfReferenceUID)
    matrices: dict[str, list[Float]] = {}
    for item in registration.RegistrationSequence:
        matrices.setdefault(str(item.get("FrameOfReferenceUID") or ""), []).append(_matrix_of(item))
    # Within the Registered RCS only what moves says something.
    matrices[registered_uid] = [
        matrix for matrix in matrices.get(registered_uid, []) if not np.allclose(matrix, np.eye(4), atol=_ROUNDING)
    ] or [np.eye(4)]
    to_registered = _only(matrices.get(moving_uid, []))
    if fixed_uid == moving_uid:
        return inverted(to_registered)
    return inverted(to_registered) @ _only(matrices.get(fixed_uid, []))


def matrix_type(matrix: Float) -> str:
    """Returns RIGID, RIGID_SCALE (a rotation, then a scaling of each axis) or AFFINE."""
    linear = matrix[:3, :3]
    products = linear @ linear.T
    if np.linalg.det(linear) < 0 or np.abs(products - np.diag(np.diag(products))).max() > _ROUNDING:
        return "AFFINE"
    return "RIGID" if np.allclose(np.diag(products), 1, atol=_ROUNDING) else "RIGID_SCALE"


def matrix_item(matrix: Float) -> Dataset:
    """Returns an item with a Frame of Reference Transformation Matrix and its type."""
    item = Dataset()
    item.FrameOfReferenceTransformationMatrix = decimals(np.ravel(matrix))
    item.FrameOfReferenceTransformationMatrixType = matrix_type(matrix)
    return item


def matrix_from_item(item: Dataset) -> Float:
    """Returns the matrix (4, 4) of an item; InvalidField where it is not affine or cannot be inverted."""
    numbers = np.array(item.FrameOfReferenceTransformationMatrix, dtype=np.float64)
    matrix = np.reshape(numbers, (4, 4)) if numbers.size == 16 else np.zeros((4, 4))
    if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)) or not np.linalg.det(matrix):
        raise InvalidField("is not 4 x 4 numbers of an affine map", field="FrameOfReferenceTransformationMatrix")
    return matrix


def decimals(numbers: Float) -> list[DSfloat]:
    """Returns numbers as decimal strings, of at most 16 letters."""
    return [DSfloat(float(number), auto_format=True) for number in numbers]


def _item(images: ReferencedImages, to_registered: Float, method: Sequence) -> Dataset:
    registration = Dataset()
    registration.RegistrationTypeCodeSequence = method
    registration.MatrixSequence = Sequence([matrix_item(to_registered)])
    item = Dataset()
    item.FrameOfReferenceUID = images.frame_of_reference_uid
    item.ReferencedImageSequence = images.image_references()
    item.MatrixRegistrationSequence = Sequence([registration])
    return item


def _matrix_of(item: Dataset) -> Float:
    steps = item.MatrixRegistrationSequence[0].MatrixSequence
    if len(steps) != 1:
        raise InvalidField(f"holds {len(steps)} matrices; one is read: combine them", field="MatrixSequence")
    return matrix_from_item(steps[0])


def _only(matrices: list[Float]) -> Float:
    if not matrices:
        raise InvalidField("does not relate the frames of reference of these images", field="RegistrationSequence")
    if any(not np.allclose(matrix, matrices[0], atol=_ROUNDING) for matrix in matrices):
        raise InvalidField("relates one frame of reference in several ways", field="RegistrationSequence")
    return matrices[0]
