"""Reading NIfTI files, whose world axes are RAS where ours are LPS. Needs the extra `images`.

Source: the NIfTI-1 standard, 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel import arrayproxy

from hilum.errors import InvalidField, UnreadableImage
from hilum.files import GZIP_MAGIC, file_head, refuse_option, require_pixels, require_voxels
from hilum.geometry import Float, ImageGeometry, PlaneFrame
from hilum.planes import Grid, PlaneName, cut, slice_count
from hilum.rescale import rescaled
from hilum.types import Image, Pixels, Volume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_MM_PER_UNIT = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_WHOLE = slice(None)
_MAX_INFLATED_BYTES = 1 << 32


@dataclass(frozen=True)
class _File:
    """An open NIfTI file; `oriented` says whether its header places it in a patient."""

    path: Path
    image: Any
    grid: Grid
    oriented: bool

    def values(self, index: tuple[int | slice, ...]) -> Pixels:
        """Reads and rescales a part of the voxels, axes (x, y, z)."""
        data = self.image.dataobj
        # nibabel scales to float64; a proxy without scaling hands the stored numbers over, of this part only.
        proxy: Any = arrayproxy.ArrayProxy
        unscaled = proxy(data.file_like, (data.shape, data.dtype, data.offset, 1.0, 0.0))
        stored = np.asarray(unscaled[(*index, *(0,) * (len(data.shape) - 3))])
        values = rescaled(stored, float(data.slope), float(data.inter))
        if values.dtype == np.float32 and not np.isfinite(values).all():
            raise UnreadableImage(f"{self.path.name}: it holds values that are not finite")
        return values


def read_image(path: Path, frame: int | None, plane: PlaneName | None, index: int | None) -> Image:
    """Reads one slice, hung as its plane is.

    Args:
        path: .nii or .nii.gz, of three dimensions.
        frame: Refused: a volume has planes.
        plane: "axial" (the default), "coronal" or "sagittal".
        index: From 0, from inferior, anterior or right; None where there is only one slice.

    Raises:
        InvalidField: No index was given where there are several slices, or there is no such plane or slice.
        UnreadableImage: The file is not a volume of numbers.
        FrameNotSupported: The slice's axes are not perpendicular, as in a sheared grid.
    """
    refuse_option(path, "frame", frame, "a NIfTI volume has a plane and an index")
    file = _opened(path)
    plane = plane or "axial"
    count = slice_count(file.grid, plane)
    if index is None and count > 1:
        raise InvalidField(f"{path.name} has {count} {plane} slices: name one, from 0", field="index")
    found = cut(file.grid, plane, index or 0)
    require_pixels(path, file.grid.shape[found.y_axis[0]], file.grid.shape[found.x_axis[0]])
    where: list[int | slice] = [_WHOLE] * 3
    where[found.slice_axis] = found.position
    values = file.values(tuple(where))
    pixels = found.picture(values, min({0, 1, 2} - {found.slice_axis}))
    place = found.frame()
    return Image(pixels, ImageGeometry(place if file.oriented else PlaneFrame(place.spacing_mm[:2])))


def read_volume(path: Path, allow_uneven: bool) -> Volume:
    """Reads a volume, turned to axial slices from inferior, rows from anterior, columns from the patient's right.

    Args:
        path: .nii or .nii.gz, of three dimensions.
        allow_uneven: Read a sheared grid all the same, knowing pixels only.

    Raises:
        UnreadableImage: The file is no volume of numbers, or its grid is sheared and that is not allowed.
    """
    file = _opened(path)
    require_voxels(path, math.prod(file.grid.shape))
    found = cut(file.grid, "axial", 0)
    x, y, z = found.x_axis, found.y_axis, found.slice_axis
    voxels = file.values((_WHOLE,) * 3).transpose(z, y[0], x[0])
    flips = (file.grid.is_reversed(z, 2), y[1], x[1])
    voxels = np.ascontiguousarray(voxels[tuple(slice(None, None, -1) if flip else _WHOLE for flip in flips)])
    if not file.oriented or (allow_uneven and file.grid.is_sheared):
        return Volume(voxels)
    if file.grid.is_sheared:
        raise UnreadableImage(f"{path.name}: its grid is sheared, as by a tilted gantry: resample it")
    return Volume(voxels, ImageGeometry(found.frame()))


def frame_count(path: Path, plane: PlaneName) -> int:
    """Returns how many slices a file has in a plane."""
    return slice_count(_opened(path).grid, plane)


def _opened(path: Path) -> _File:
    loaded = nibabel.load(path)
    if not isinstance(loaded, nibabel.Nifti1Image):
        raise UnreadableImage(f"{path.name}: it is no NIfTI file")
    image: Any = loaded  # nibabel is typed in parts only
    shape = tuple(int(size) for size in image.shape)
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise UnreadableImage(
            f"{path.name}: it has shape {shape}; volumes of three dimensions are read: save one of it"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise UnreadableImage(f"{path.name}: its voxels are {image.get_data_dtype()}, not grey values")
    _require_end(path, image)
    unit = _MM_PER_UNIT.get(image.header.get_xyzt_units()[0], 1.0)
    affine: Float = np.asarray(image.affine, dtype=np.float64) * unit
    steps, origin = _RAS_TO_LPS @ affine[:3, :3], _RAS_TO_LPS @ affine[:3, 3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(steps)) < 1e-12:
        raise UnreadableImage(f"{path.name}: its affine cannot be inverted")
    oriented = bool(image.header["sform_code"] > 0 or image.header["qform_code"] > 0)
    return _File(path, image, Grid(origin, steps, (shape[0], shape[1], shape[2])), oriented)


def _require_end(path: Path, image: Any) -> None:
    """Refuses a compressed file that would have to be inflated too far: a small one can hold any amount of zeros."""
    end = int(image.dataobj.offset) + math.prod(image.shape) * image.get_data_dtype().itemsize
    if end > _MAX_INFLATED_BYTES and file_head(path).startswith(GZIP_MAGIC):
        raise UnreadableImage(
            f"{path.name}: it inflates to {end} bytes, at most {_MAX_INFLATED_BYTES} are read; decompress it first"
        )
