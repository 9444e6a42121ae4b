"""Transforms as displacement fields in NIfTI files. Needs the extra `images`.

Voxels hold T(x) - x in mm: where a point x of the fixed image goes, affine part included, less where it is. The grid is
that of the transform's displacement field, or else the fixed image's; outside of it the file says nothing, and readers
leave points where they are. The shape is (x, y, z, 1, 3), with two layers along z for a slice, and (x, y, 1, 1, 2) in
the plane.

NIfTI's world is RAS, and programs disagree about the vectors in it. With intent 1007, "vector", ITK, SimpleITK and
ANTs write the components of LPS vectors under an affine that is RAS; with intent 1006, "dispvect", components are RAS,
as the standard's axes are, and ITK 5.4 turns them when it reads and writes. Both are done here as there. In the plane
there is no RAS, and only 1007.

Source: the NIfTI-1 standard, 2004; ITK's NiftiImageIO.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import FrameNotSupported, InvalidField
from hilum.extras import extra
from hilum.files import reading, require_voxels
from hilum.flag_note import flags_note, noted_flags
from hilum.geometry import Float
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.transform_world import from_world, to_world, world_grid
from hilum.warp import Warp, affine

with extra("images"):
    import nibabel
    from nibabel.nifti1 import Nifti1Extension

Intent: TypeAlias = Literal["vector", "dispvect"]

INTENT_CODES: dict[Intent, int] = {"vector": 1007, "dispvect": 1006}
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_RAS_SIGNS = np.array([-1.0, -1.0, 1.0])
_SCANNER, _ALIGNED = 1, 2
_COMMENT = 6
_DESCRIPTION = "Hilum: points of the fixed image to the moving one; not for diagnosis"


def write_nifti_transform(
    path: str | os.PathLike[str],
    transform: Transform,
    *,
    intent: Intent = "vector",
    accepted_flags: Collection[str] = (),
    in_plane: bool = False,
) -> None:
    """Writes the transform as a displacement field, float32.

    The format has no place for the moving image, the affine part by itself and frames of reference. Flags are written
    as a header extension, which is read again.

    Args:
        path: .nii or .nii.gz.
        transform: With both images in the patient, or both with spacing.
        intent: "vector" (1007), which ITK and ANTs of any version read, or "dispvect" (1006).
        accepted_flags: Quality flags that the caller accepts by name.
        in_plane: Of slices: in two dimensions, even where both lie in the patient.

    Raises:
        TransformFlagged: A flag was not accepted.
        FrameNotSupported: An image has no spacing in which lengths in the patient may be given, or "dispvect" is asked
            in the plane.
        OSError: The file cannot be written.
    """
    transform.require_accepted(accepted_flags)
    world = to_world(transform, in_plane=in_plane)
    if world.dimension == 2 and intent == "dispvect":
        raise FrameNotSupported("RAS vectors exist in the patient only: in the plane, write the intent vector")
    shape, grid = world_grid(transform.fixed_grid, world.dimension)
    if world.field is not None:
        shape, grid = world.field.shape, world.field.grid
    start = affine(grid, grid_points(shape))
    vectors = (world.apply(start) - start).reshape(*shape, -1)
    if intent == "dispvect":
        vectors = vectors * _RAS_SIGNS
    if world.dimension == 2:
        vectors = vectors[None]
    make: Any = nibabel.Nifti1Image  # nibabel is typed in parts only
    written = make(vectors.astype(np.float32).transpose(2, 1, 0, 3)[:, :, :, None], _RAS_FROM_LPS @ _spatial(grid))
    written.header.set_intent(INTENT_CODES[intent])
    written.header["descrip"] = _DESCRIPTION
    written.header.set_xyzt_units("mm")
    code = _SCANNER if world.dimension == 3 else _ALIGNED
    written.set_sform(written.affine, code)
    written.set_qform(written.affine, code)
    if transform.flags:
        comment: Any = Nifti1Extension
        written.header.extensions.append(comment(_COMMENT, flags_note(transform.flags).encode()))
    nibabel.save(written, path)


def read_nifti_transform(path: str | os.PathLike[str], fixed: ImageGrid, moving: ImageGrid) -> Transform:
    """Reads a displacement field of either intent as the transform between two images.

    Args:
        path: .nii or .nii.gz, of shape (x, y, z, 1, 3), or (x, y, 1, 1, 2) for points in the plane.
        fixed: The image whose points the field takes.
        moving: The image that they are taken to.

    Raises:
        InvalidField: The file holds no displacement field, its intent does not say how its vectors are meant, or they
            are not in mm or not finite.
        FrameNotSupported: The images have no place in which the transform could be applied.
        UnreadableImage: The file is no NIfTI file.
    """
    file = Path(path)
    with reading(file):
        loaded: Any = nibabel.load(file)
        if not isinstance(loaded, nibabel.Nifti1Image):
            raise InvalidField("is no NIfTI file", field=file.name)
        dimension = _checked_dimension(loaded, file)
        vectors = np.asarray(loaded.dataobj)[:, :, :, 0].transpose(3, 2, 1, 0)
        comments = [part.get_content() for part in loaded.header.extensions if part.get_code() == _COMMENT]
    grid = _RAS_FROM_LPS @ np.asarray(loaded.affine, np.float64)
    if dimension == 2:
        vectors, grid = vectors[:, 0], grid[np.ix_([0, 1, 3], [0, 1, 3])]
    if int(loaded.header["intent_code"]) == INTENT_CODES["dispvect"]:
        vectors = vectors * _RAS_SIGNS.reshape(3, 1, 1, 1)
    try:
        world = Warp(np.eye(dimension + 1), DisplacementField(vectors, grid))
    except ValueError as error:
        raise InvalidField(f"holds no displacement field: {error}", field=file.name) from error
    text = "\n".join(part.decode("ascii", "replace") if isinstance(part, bytes) else str(part) for part in comments)
    return from_world(world, fixed, moving, flags=noted_flags(text))


def _checked_dimension(image: Any, file: Path) -> int:
    """The number of components of a file that holds a displacement field in mm."""
    shape = tuple(int(size) for size in image.shape)
    if len(shape) != 5 or shape[3] != 1 or shape[4] not in (2, 3) or (shape[4] == 2 and shape[2] != 1):
        raise InvalidField(
            f"has shape {shape}; a displacement field has (x, y, z, 1, 3), or (x, y, 1, 1, 2) in the plane",
            field=file.name,
        )
    require_voxels(file, int(np.prod(shape[:3], dtype=object)))
    intent = int(image.header["intent_code"])
    if intent not in INTENT_CODES.values():
        raise InvalidField(
            f"has intent {intent}, which does not say whether its vectors are LPS or RAS: set 1007 where they are LPS, "
            "as ITK's and ANTs' are, or 1006 where they are RAS",
            field=file.name,
        )
    if shape[4] == 2 and intent == INTENT_CODES["dispvect"]:
        raise InvalidField("has intent 1006, but RAS vectors have three components", field=file.name)
    unit = image.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise InvalidField(f"is in {unit}s; displacements are read in mm", field=file.name)
    return shape[4]


def _spatial(grid: Float) -> Float:
    """A grid in two dimensions as one of three."""
    if len(grid) == 4:
        return grid
    deep = np.eye(4)
    deep[np.ix_([0, 1, 3], [0, 1, 3])] = grid
    return deep
