"""The deformation of a DICOM Deformable Spatial Registration.

Source: DICOM PS3.3 C.20.3. A point x of the Registered RCS goes to M_post (M_pre x + d(x)) in the Source RCS.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from hilum.dicom.referenced import ReferencedImages
from hilum.dicom.registration_object import registration_method
from hilum.dicom.spatial_registration import decimals, matrix_from_item, matrix_item
from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.warp import Warp, inverted


def deformable_items(
    transform: Transform, matrix: Float, displacements: DisplacementField, moving: ReferencedImages
) -> Sequence:
    """Returns a Deformable Registration Sequence with one item, for the moving images.

    Args:
        transform: Says how it was made.
        matrix: (4, 4), applied after the displacements.
        displacements: LPS in mm, on a grid whose axes are perpendicular.
        moving: Images of the Source RCS.
    """
    item = Dataset()
    item.SourceFrameOfReferenceUID = moving.frame_of_reference_uid
    item.ReferencedImageSequence = moving.image_references()
    item.RegistrationTypeCodeSequence = registration_method(transform)
    item.DeformableRegistrationGridSequence = Sequence([_grid_item(displacements)])
    item.PostDeformationMatrixRegistrationSequence = Sequence([matrix_item(matrix)])
    return Sequence([item])


def deformation(registration: Dataset, fixed_uid: str, moving_uid: str) -> Warp:
    """Returns the map of LPS points from one frame of reference to another.

    Args:
        registration: A Deformable Spatial Registration.
        fixed_uid: Frame of reference of the points taken.
        moving_uid: Frame of reference that they are taken to.

    Raises:
        InvalidField: It relates other frames of reference, or these in several ways or the other way round, or its grid
            is not one.
    """
    registered_uid = str(registration.FrameOfReferenceUID)
    items = {
        source: [
            item for item in registration.DeformableRegistrationSequence if item.SourceFrameOfReferenceUID == source
        ]
        for source in (fixed_uid, moving_uid)
    }
    if registered_uid != fixed_uid or not items[moving_uid]:
        swapped = registered_uid == moving_uid and items[fixed_uid]
        hint = ": it was made with fixed and moving the other way round" if swapped else ""
        raise InvalidField(
            f"does not take the fixed image's frame of reference to the moving one's{hint}",
            field="DeformableRegistrationSequence",
        )
    if len(items[moving_uid]) > 1:
        raise InvalidField("relates one frame of reference in several ways", field="DeformableRegistrationSequence")
    (item,) = items[moving_uid]
    before, after = (
        matrix_from_item(item[keyword][0]) if item.get(keyword) else np.eye(4)
        for keyword in ("PreDeformationMatrixRegistrationSequence", "PostDeformationMatrixRegistrationSequence")
    )
    grids = item.get("DeformableRegistrationGridSequence")
    if not grids:
        return Warp(after @ before)
    grid, vectors = _grid(grids[0])
    # M_post (M_pre x + d) = M_post M_pre (x + d'), where M_pre's linear part takes d' to d.
    ahead = np.tensordot(inverted(before)[:3, :3], vectors, axes=1)
    try:
        return Warp(after @ before, DisplacementField(ahead, grid))
    except ValueError as error:
        raise InvalidField(f"{error}", field="VectorGridData") from error


def _grid_item(displacements: DisplacementField) -> Dataset:
    values, grid = displacements.values, displacements.grid
    if np.linalg.det(grid[:3, :3]) < 0:
        # The third axis is the cross product of the others: the grid is counted from its other end.
        flip = np.diag([1.0, 1.0, -1.0, 1.0])
        flip[2, 3] = values.shape[1] - 1
        values, grid = values[:, ::-1], grid @ flip
    resolution = np.linalg.norm(grid[:3, :3], axis=0)
    item = Dataset()
    item.ImageOrientationPatient = decimals(np.ravel((grid[:3, :2] / resolution[:2]).T))
    item.ImagePositionPatient = decimals(grid[:3, 3])
    item.GridDimensions = list(values.shape[:0:-1])
    item.GridResolution = resolution.tolist()
    item.VectorGridData = np.moveaxis(values, 0, -1).astype("<f4").tobytes()
    return item


def _grid(item: Dataset) -> tuple[Float, Float]:
    """The grid's matrix (4, 4), and its vectors (3, depth, height, width)."""
    width, height, depth = (int(count) for count in item.GridDimensions)
    rows, columns = np.reshape(np.array(item.ImageOrientationPatient, np.float64), (2, 3))
    grid = np.eye(4)
    grid[:3, :3] = np.column_stack([rows, columns, np.cross(rows, columns)]) * np.array(item.GridResolution, np.float64)
    grid[:3, 3] = np.array(item.ImagePositionPatient, np.float64)
    data = bytes(item.VectorGridData)
    if len(data) != 12 * width * height * depth:
        raise InvalidField(f"{len(data)} bytes on a grid of {width} x {height} x {depth}", field="VectorGridData")
    vectors = np.moveaxis(np.frombuffer(data, "<f4").reshape(depth, height, width, 3), -1, 0)
    if np.isnan(vectors).any():
        raise InvalidField("the deformation is undefined (NaN) in places, which cannot be read", field="VectorGridData")
    return grid, vectors.astype(np.float64)
