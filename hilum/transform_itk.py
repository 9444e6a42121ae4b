"""Transforms in ITK's text format, which SimpleITK, ANTs, elastix and 3D Slicer read and write.

An ITK transform takes points of the fixed image to the moving image, as `hilum.Transform` does: it is what resampling
the moving image onto the fixed grid needs. Points are LPS in mm; in two dimensions they are (x, y) in the plane, as in
an ITK image whose origin is 0, whose direction is the identity and whose spacing is the image's.

A file holds one transform, or a composite, of which the last one listed is applied first.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField
from hilum.flag_note import flags_note, noted_flags
from hilum.geometry import Float
from hilum.image_grid import ImageGrid
from hilum.itk_matrix import itk_matrix
from hilum.transform import Transform
from hilum.transform_world import from_world, to_world, world_grid
from hilum.warp import Warp

_HEADER = "#Insight Transform File V1.0"
# A field of 256 x 256 x 256 voxels.
_MAX_BYTES = 1 << 30


def write_itk_transform(
    path: str | os.PathLike[str], transform: Transform, *, accepted_flags: Collection[str] = (), in_plane: bool = False
) -> None:
    """Writes an affine transform, or a composite of an affine transform and a displacement field.

    The format has no place for sizes and frames of reference. Flags are written as a comment, which is read again.

    Args:
        path: Such as transform.tfm or transform.txt.
        transform: With both images in the patient, or both with spacing.
        accepted_flags: Quality flags that the caller accepts by name.
        in_plane: Of slices: in two dimensions, even where both lie in the patient.

    Raises:
        TransformFlagged: A flag was not accepted.
        FrameNotSupported: An image has no spacing in which lengths in the patient may be given.
        OSError: The file cannot be written.
    """
    transform.require_accepted(accepted_flags)
    world = to_world(transform, in_plane=in_plane)
    flags = [f"# {flags_note(transform.flags)}"] if transform.flags else []
    steps = [_affine_lines(world.matrix)]
    if world.field is not None:
        steps = [[f"Transform: CompositeTransform_double_{world.dimension}_{world.dimension}"], *steps]
        steps.append(_field_lines(world.field))
    numbered = [line for number, lines in enumerate(steps) for line in (f"#Transform {number}", *lines)]
    Path(path).write_text("\n".join([_HEADER, *flags, *numbered, ""]), encoding="ascii")


def read_itk_transform(path: str | os.PathLike[str], fixed: ImageGrid, moving: ImageGrid) -> Transform:
    """Reads affine and rigid transforms, displacement fields and composites of these.

    Of several displacement fields in a composite the outcome is exact at the fixed image's pixels.

    Args:
        path: A file in ITK's text format.
        fixed: The image whose points the transform takes.
        moving: The image that they are taken to.

    Raises:
        InvalidField: The file is not in that format, or holds a transform of another kind.
        FrameNotSupported: The images have no place in which the transform could be applied.
        OSError: The file cannot be read.
    """
    file = Path(path)
    lines = _lines(file)
    steps = [_warp(part, file) for part in _parts(lines, file) if part.name != "CompositeTransform"]
    if not steps or len({step.dimension for step in steps}) > 1:
        raise InvalidField("holds no transform, or some of two and some of three dimensions", field=file.name)
    shape, to_mm = world_grid(fixed, steps[0].dimension)
    world = steps[-1]
    for step in reversed(steps[:-1]):
        world = world.then(step, shape, to_mm)
    comments = "\n".join(line for line in lines if line.startswith("#"))
    return from_world(world, fixed, moving, flags=noted_flags(comments))


@dataclass(frozen=True, eq=False)
class _Part:
    """One transform as a file has it: class, dimension, parameters and fixed parameters."""

    name: str
    dimension: int
    parameters: Float
    fixed: Float


def _affine_lines(matrix: Float) -> list[str]:
    dimension = len(matrix) - 1
    numbers = [*np.ravel(matrix[:-1, :-1]).tolist(), *matrix[:-1, -1].tolist()]
    return [
        f"Transform: AffineTransform_double_{dimension}_{dimension}",
        f"Parameters: {' '.join(map(repr, numbers))}",
        f"FixedParameters: {' '.join(['0'] * dimension)}",
    ]


def _field_lines(displacements: DisplacementField) -> list[str]:
    dimension = len(displacements.shape)
    axes = displacements.grid[:-1, :-1]
    spacing = np.linalg.norm(axes, axis=0)
    geometry = [*displacements.grid[:-1, -1].tolist(), *spacing.tolist(), *np.ravel(axes / spacing).tolist()]
    vectors = np.moveaxis(displacements.values, 0, -1).ravel()
    return [
        f"Transform: DisplacementFieldTransform_double_{dimension}_{dimension}",
        # Nine digits tell any two float32 apart.
        f"Parameters: {' '.join(f'{number:.9g}' for number in vectors.tolist())}",
        f"FixedParameters: {' '.join(map(repr, [*displacements.shape[::-1], *geometry]))}",
    ]


def _warp(part: _Part, file: Path) -> Warp:
    try:
        if part.name == "DisplacementFieldTransform":
            return Warp(np.eye(part.dimension + 1), _displacement_field(part))
        matrix = itk_matrix(part.name, part.dimension, part.parameters, part.fixed)
    except ValueError as error:
        raise InvalidField(f"cannot be understood: {error}", field=file.name) from error
    if matrix is None:
        raise InvalidField(
            f"holds a {part.name} in {part.dimension} dimensions, which is not read: make a displacement field of it "
            "with SimpleITK's TransformToDisplacementField",
            field=file.name,
        )
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise InvalidField("holds a transform that cannot be inverted", field=file.name)
    return Warp(matrix)


def _displacement_field(part: _Part) -> DisplacementField:
    dimension = part.dimension
    if len(part.fixed) != dimension * (3 + dimension):
        raise ValueError(f"a displacement field with {len(part.fixed)} fixed parameters")
    size, origin, spacing = np.split(part.fixed[: 3 * dimension], 3)
    shape = tuple(int(count) for count in size[::-1])
    if min(shape) < 1 or len(part.parameters) != dimension * int(np.prod(shape, dtype=object)):
        raise ValueError(f"{len(part.parameters)} displacements on a grid of {' x '.join(map(str, shape))}")
    grid = np.eye(dimension + 1)
    grid[:-1, :-1] = part.fixed[3 * dimension :].reshape(dimension, dimension) * spacing
    grid[:-1, -1] = origin
    return DisplacementField(np.moveaxis(part.parameters.reshape(*shape, dimension), -1, 0), grid)


def _lines(file: Path) -> list[str]:
    if file.stat().st_size > _MAX_BYTES:
        raise InvalidField(f"is larger than {_MAX_BYTES >> 20} MiB, more than any transform has", field=file.name)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    if not lines or not lines[0].startswith("#Insight Transform File"):
        raise InvalidField(
            "is no transform in ITK's text format: SimpleITK's WriteTransform writes one to a name that ends in .tfm",
            field=file.name,
        )
    return lines


def _parts(lines: list[str], file: Path) -> list[_Part]:
    try:
        parts = list(_read_parts(lines))
    except ValueError as error:
        raise InvalidField(f"cannot be understood: {error}", field=file.name) from error
    if len(parts) > 1 and parts[0].name != "CompositeTransform":
        raise InvalidField("holds several transforms that are no composite: write each to a file", field=file.name)
    return parts


def _read_parts(lines: list[str]) -> Iterator[_Part]:
    """Yields the transforms listed; ValueError for lines that are none of the format's."""
    words = [line.partition(":") for line in lines if line.strip() and not line.startswith("#")]
    starts = [index for index, (key, _, _) in enumerate(words) if key == "Transform"]
    if not starts or starts[0] != 0:
        raise ValueError("no line says which transform it is")
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        name, _, rest = words[start][2].strip().partition("_")
        numbers = {key: _numbers(text) for key, _, text in words[start + 1 : end]}
        dimension = rest.rpartition("_")[2]
        if dimension not in ("2", "3") or not numbers.keys() <= {"Parameters", "FixedParameters"}:
            raise ValueError("a line is not of ITK's text format")
        nothing = np.empty(0)
        parameters, fixed = numbers.get("Parameters", nothing), numbers.get("FixedParameters", nothing)
        yield _Part(name, int(dimension), parameters, fixed)


def _numbers(text: str) -> Float:
    with warnings.catch_warnings():
        # What numpy only warns of in some versions: text that is no number.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            numbers: Float = np.fromstring(text, np.float64, sep=" ")
        except DeprecationWarning as error:
            raise ValueError("a parameter is no number") from error
    if not np.isfinite(numbers).all():
        raise ValueError("a parameter is not finite")
    return numbers
