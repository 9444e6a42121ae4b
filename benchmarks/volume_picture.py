"""A picture of a registered pair of volumes: checkerboards before and after, in three planes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.volume_pairs import VolumePair
from hilum.displacement_field import grid_points
from hilum.warp import Warp
from services.fusion.volume_registration import RegistrationVolume

_TILE_MM = 30.0
_PX_PER_MM = 1.1
_MARGIN = 10
_CAPTION = 30

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class _Plane:
    """A plane through a volume.

    Attributes:
        name: for the caption.
        axis: of (depth, height, width), that is cut.
        right: whether the patient's right lies on the picture's left.
    """

    name: str
    axis: int
    right: bool


_PLANES = (_Plane("axial", 0, True), _Plane("coronal", 1, True), _Plane("sagittal", 2, False))
_NOTICE = "simulated motion and pseudo-modality - not for diagnosis"


def draw(pair: VolumePair, warp: Warp, path: Path) -> None:
    """Write a PNG: for each plane through the middle the two volumes in tiles, before and after.

    Args:
        pair: what was registered.
        warp: fixed voxels to moving voxels, as found.
        path: where the picture goes.
    """
    places = warp.apply(grid_points(pair.fixed.size))
    moved = ndimage.map_coordinates(pair.moving.voxels, places[:, ::-1].T, order=1, mode="constant")
    fixed = _upright(pair.fixed, pair.fixed.voxels)
    rows = []
    for title, moving in (("before", pair.moving.voxels), ("after", moved.reshape(pair.fixed.size))):
        turned = _upright(pair.fixed, moving)
        shown = [_checkerboard(fixed, turned, pair.fixed, plane) for plane in _PLANES]
        height = max(picture.shape[0] for picture in shown)
        cells = [_framed(picture, height, plane, title) for picture, plane in zip(shown, _PLANES, strict=True)]
        rows.append(np.concatenate(cells, axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.concatenate(rows, axis=0)
    _write(whole, _NOTICE, (_MARGIN, whole.shape[0] - _MARGIN))
    cv2.imwrite(str(path), whole, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _axes(volume: RegistrationVolume) -> list[tuple[int, bool]]:
    """For depth (feet up), height (back up) and width (left up): the array axis, and whether it runs the other way."""
    direction = np.asarray(volume.frame.direction)
    found = []
    for patient, sign in ((2, -1), (1, 1), (0, 1)):
        column = int(np.abs(direction[patient]).argmax())
        found.append((2 - column, bool(direction[patient, column] * sign < 0)))
    return found


def _upright(volume: RegistrationVolume, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Slices from the head down, rows from the front back, columns from the patient's right to the left."""
    axes = _axes(volume)
    turned = voxels.transpose([axis for axis, _ in axes])
    return turned[tuple(slice(None, None, -1 if flip else 1) for _, flip in axes)]


def _checkerboard(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], volume: RegistrationVolume, plane: _Plane
) -> Grey:
    spacing = [volume.frame.spacing_mm[2 - axis] for axis, _ in _axes(volume)]
    rest = [axis for axis in range(3) if axis != plane.axis]
    pictures = []
    for voxels in (fixed, moving):
        middle = np.take(voxels, voxels.shape[plane.axis] // 2, axis=plane.axis)
        size = tuple(round(middle.shape[place] * spacing[axis] * _PX_PER_MM) for place, axis in enumerate(rest))
        grey = np.clip(middle * 255, 0, 255).astype(np.uint8)
        pictures.append(cv2.resize(np.ascontiguousarray(grey), size[::-1], interpolation=cv2.INTER_LINEAR))
    tile = _TILE_MM * _PX_PER_MM
    y, x = np.indices(pictures[0].shape)
    return np.where((y // tile + x // tile) % 2 < 1, *pictures).astype(np.uint8)


def _framed(picture: Grey, height: int, plane: _Plane, title: str) -> Grey:
    framed = np.zeros((height + _CAPTION + _MARGIN, picture.shape[1] + _MARGIN), np.uint8)
    top = _CAPTION + (height - picture.shape[0]) // 2
    framed[top : top + picture.shape[0], : picture.shape[1]] = picture
    _write(framed, f"{plane.name}, {title}", (_MARGIN, 20))
    if plane.right:
        _write(framed, "R", (_MARGIN, _CAPTION + height // 2))
    return framed


def _write(picture: Grey, text: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
