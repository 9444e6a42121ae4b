"""The affine transforms of ITK, from the parameters in its files.

Every one is x -> linear (x - centre) + centre + translation. Source: the ITK Software Guide, "Geometric
transformations", and the classes' documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hilum.geometry import Float


@dataclass(frozen=True)
class _Kind:
    """How one class of transforms reads its parameters.

    Attributes:
        parameters: Number of parameters.
        parts: Parameters and fixed parameters to the linear part (d, d) and the translation (d,).
    """

    parameters: int
    parts: Callable[[Float, Float], tuple[Float, Float]]


def itk_matrix(name: str, dimension: int, parameters: Float, fixed: Float) -> Float | None:
    """Returns the homogeneous matrix of an affine ITK transform, or None for a class that is not known here.

    Args:
        name: Of the class, such as "Euler3DTransform".
        dimension: 2 or 3.
        parameters: As in the file.
        fixed: Fixed parameters: the centre, of some versions followed by further numbers.

    Raises:
        ValueError: The class has another number of parameters.
    """
    kind = _KINDS.get((name, dimension))
    if kind is None:
        return None
    if len(parameters) != kind.parameters:
        raise ValueError(f"{name} with {len(parameters)} parameters")
    linear, translation = kind.parts(parameters, fixed)
    centre = fixed[:dimension]
    if np.array_equal(linear, np.eye(dimension)):
        centre = np.zeros(dimension)  # about which nothing turns; SimpleITK writes what it likes there
    elif len(centre) != dimension:
        raise ValueError(f"{name} with {len(fixed)} fixed parameters")
    matrix = np.eye(dimension + 1)
    matrix[:-1, :-1] = linear
    matrix[:-1, -1] = translation + centre - linear @ centre
    return matrix


def _affine(dimension: int) -> _Kind:
    count = dimension * dimension
    return _Kind(count + dimension, lambda p, _: (p[:count].reshape(dimension, dimension), p[count:]))


def _translation(dimension: int) -> _Kind:
    return _Kind(dimension, lambda p, _: (np.eye(dimension), p))


def _identity(dimension: int) -> _Kind:
    return _Kind(0, lambda _, __: (np.eye(dimension), np.zeros(dimension)))


def _turn(axis: int, angle: float) -> Float:
    """A rotation about a coordinate axis, (3, 3)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn[first, first] = turn[second, second] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    return turn


def _euler_3d(parameters: Float, fixed: Float) -> tuple[Float, Float]:
    x, y, z = (_turn(axis, float(parameters[axis])) for axis in range(3))
    # A fourth fixed parameter says in which order the rotations are applied.
    zyx = len(fixed) > 3 and fixed[3] != 0
    return (z @ y @ x if zyx else z @ x @ y), parameters[3:]


def _versor(vector: Float) -> Float:
    """The rotation of a unit quaternion whose vector part is given, (3, 3)."""
    scalar = np.sqrt(max(0.0, 1.0 - float(vector @ vector)))
    x, y, z = vector
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: Float = np.eye(3) + 2 * scalar * cross + 2 * cross @ cross
    return rotation


_KINDS = {
    **{(name, d): _affine(d) for name in ("AffineTransform", "MatrixOffsetTransformBase") for d in (2, 3)},
    **{("TranslationTransform", d): _translation(d) for d in (2, 3)},
    **{("IdentityTransform", d): _identity(d) for d in (2, 3)},
    **{
        (name, 2): _Kind(3, lambda p, _: (_turn(2, float(p[0]))[:2, :2], p[1:]))
        for name in ("Euler2DTransform", "Rigid2DTransform")
    },
    ("Similarity2DTransform", 2): _Kind(4, lambda p, _: (p[0] * _turn(2, float(p[1]))[:2, :2], p[2:])),
    ("Euler3DTransform", 3): _Kind(6, _euler_3d),
    ("VersorRigid3DTransform", 3): _Kind(6, lambda p, _: (_versor(p[:3]), p[3:])),
    ("Similarity3DTransform", 3): _Kind(7, lambda p, _: (p[6] * _versor(p[:3]), p[3:6])),
}
