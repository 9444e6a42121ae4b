"""Stored values to the image's own units, in a pixel type that holds the result exactly."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.types import Pixels

_Kind: TypeAlias = np.dtype[Any]
_KEPT = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int16))
# int16 before uint16, so that all slices of a CT have one type.
_PREFERRED = (np.dtype(np.int16), np.dtype(np.uint16))
_FLOAT = np.dtype(np.float32)


def rescaled(
    stored: NDArray[Any], slope: float = 1, intercept: float = 0, stored_range: tuple[int, int] | None = None
) -> Pixels:
    """Returns slope * stored + intercept as uint8, uint16, int16 or float32; nothing ever wraps around.

    Integers under an integral slope and intercept stay integers where they fit: in the stored type if it is one of the
    three, else int16, else uint16. Everything else is float32.

    Args:
        stored: Numbers of any type and byte order.
        slope: Factor.
        intercept: Summand.
        stored_range: Least and largest value that the file can store, by default those of its type. They choose the
            result's type, so that slices of one series agree; where no type holds them, the values themselves do.
    """
    kind = stored.dtype.newbyteorder("=")
    if slope == 1 and intercept == 0 and kind in (*_KEPT, _FLOAT):
        return stored.astype(kind, copy=False)
    if not (np.issubdtype(kind, np.integer) and float(slope).is_integer() and float(intercept).is_integer()):
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    result = _result_type(stored, kind, int(slope), int(intercept), stored_range)
    if result == _FLOAT:
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    values = stored.astype(np.int64)
    values *= int(slope)
    values += int(intercept)
    return values.astype(result)


def _result_type(
    stored: NDArray[Any], kind: _Kind, slope: int, intercept: int, stored_range: tuple[int, int] | None
) -> _Kind:
    bounds = np.iinfo(kind)
    actual = [slope * int(value) + intercept for value in (stored.min(), stored.max())]
    possible = [slope * value + intercept for value in stored_range or (int(bounds.min), int(bounds.max))]
    kept = (kind,) if kind in _KEPT else ()
    return _fitting((*kept, *_PREFERRED), possible + actual) or _fitting(_PREFERRED, actual) or _FLOAT


def _fitting(kinds: tuple[_Kind, ...], values: list[int]) -> _Kind | None:
    fitting = (kind for kind in kinds if np.iinfo(kind).min <= min(values) and max(values) <= np.iinfo(kind).max)
    return next(fitting, None)
