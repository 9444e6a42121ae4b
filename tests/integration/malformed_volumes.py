"""Requests to register volumes that are wrong, or legal but absurd: made from a seed, the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.messages import DATA_TYPES, tensor
from tests.contract.volumes import FIXED, FIXED_PLACE, MOVING, MOVING_PLACE, SIDE, frame, registering_volumes

ABSURD_EVERY = 40
"""Of so many requests one is legal but absurd: it is worked on, which takes its time."""
_NOT_FINITE = (np.nan, np.inf, -np.inf)


@dataclass
class Pair:
    """Two volumes to be registered, before they are written down.

    Attributes:
        message: What the first message says.
        voxels: Of the fixed and of the moving volume.
        cut: Bytes that are left out at the end.
    """

    message: pb.VolumeRegistration
    voxels: list[NDArray[Any]] = field(default_factory=lambda: [FIXED, MOVING])
    cut: int = 0

    def requests(self) -> Iterator[pb.RegisterVolumesRequest]:
        """Returns the messages."""
        yield pb.RegisterVolumesRequest(registration=self.message)
        for number, voxels in enumerate(self.voxels):
            data = tensor(voxels).data
            yield pb.RegisterVolumesRequest(voxels=data[: len(data) - self.cut * number])

    def either(self, random: np.random.Generator) -> pb.FusionVolume:
        """Returns the description of one of the two."""
        return self.message.fixed if random.random() < 0.5 else self.message.moving

    def show(self, number: int, voxels: NDArray[Any]) -> None:
        """Puts voxels in the place of those of a volume."""
        self.voxels[number] = voxels
        described_as = (self.message.fixed, self.message.moving)[number]
        described_as.shape[:] = voxels.shape
        described_as.data_type = image_pb2.DataType.ValueType(DATA_TYPES[voxels.dtype.name])


Change: TypeAlias = Callable[[Pair, np.random.Generator], None]


def pairs(count: int, seed: int) -> Iterator[tuple[bool, Pair]]:
    """Yields whether a request must be refused, and the request."""
    random = np.random.default_rng(seed)
    for number in range(count):
        wrong = number % ABSURD_EVERY != 0
        first = next(registering_volumes(transform_model=int(random.integers(0, 5))))
        pair = Pair(first.registration)
        changes = WRONG if wrong else ABSURD
        changes[int(random.integers(len(changes)))](pair, random)
        yield wrong, pair


def _constant(pair: Pair, random: np.random.Generator) -> None:
    pair.show(int(random.integers(2)), np.full(FIXED.shape, random.integers(-9, 9), np.int16))


def _nowhere_finite(pair: Pair, random: np.random.Generator) -> None:
    pair.show(int(random.integers(2)), np.full(FIXED.shape, random.choice(_NOT_FINITE), np.float32))


def _all_padding(pair: Pair, random: np.random.Generator) -> None:
    number = int(random.integers(2))
    pair.show(number, np.full(FIXED.shape, 7, np.int16))
    (pair.message.fixed, pair.message.moving)[number].padding_value = 7


def _shape(pair: Pair, random: np.random.Generator) -> None:
    sides = (0, 1, 3, 40, 2**31, 2**32 - 1)
    pair.either(random).shape[:] = [int(side) for side in random.choice(sides, size=random.integers(0, 5))]


def _cut(pair: Pair, random: np.random.Generator) -> None:
    pair.cut = int(random.integers(1, 999))


def _data_type(pair: Pair, random: np.random.Generator) -> None:
    pair.either(random).data_type = image_pb2.DataType.ValueType(random.choice((0, 5, 99)))


def _spacing(pair: Pair, random: np.random.Generator) -> None:
    bad = float(random.choice((-1, 0, np.nan, np.inf, 1e-9, 1e9)))
    pair.either(random).geometry.CopyFrom(frame((0, 0, 0), spacing=(bad, 1.0, 1.0)))


def _direction(pair: Pair, random: np.random.Generator) -> None:
    direction = (1.0, 0.0, 0.0, float(random.choice((1.0, 1e300, *_NOT_FINITE))), 1.0, 0.0, 0.0, 0.0, 1.0)
    pair.either(random).geometry.CopyFrom(frame((0, 0, 0), direction))


def _origin(pair: Pair, random: np.random.Generator) -> None:
    pair.either(random).geometry.CopyFrom(frame((float(random.choice(_NOT_FINITE)), 0, 0)))


def _mixed_frames(pair: Pair, random: np.random.Generator) -> None:
    detector = image_pb2.DetectorPlane(imager_pixel_spacing_mm=[0.5, 0.5])
    frames = (image_pb2.ImageGeometry(), image_pb2.ImageGeometry(detector_plane=detector))
    pair.either(random).geometry.CopyFrom(frames[int(random.integers(2))])


def _another_scale(pair: Pair, random: np.random.Generator) -> None:
    pair.message.moving.geometry.CopyFrom(frame((0, 0, 0), spacing=(float(random.choice((0.01, 999.0))),) * 3))


def _padding(pair: Pair, random: np.random.Generator) -> None:
    pair.either(random).padding_value = random.choice(_NOT_FINITE)


def _modality(pair: Pair, random: np.random.Generator) -> None:
    pair.either(random).modality = str(random.choice(("ct!", "M" * 17, "\u00e9")))


def _model(pair: Pair, random: np.random.Generator) -> None:
    pair.message.transform_model = pb.TransformModel.ValueType(random.choice((5, 99, -1)))


def _stiffness(pair: Pair, random: np.random.Generator) -> None:
    pair.message.stiffness = float(random.choice((-1.0, 0.0, 1e9, *_NOT_FINITE)))


def _start(pair: Pair, matrix: Any, **fields: Any) -> None:
    size = image_pb2.ImageSize(height_px=SIDE, width_px=SIDE)
    known: dict[str, Any] = {"fixed_size": size, "moving_size": size, "fixed_slices": SIDE, "moving_slices": SIDE}
    pair.message.initial_transform.CopyFrom(pb.Transform(pixel_matrix=np.ravel(matrix), **known | fields))


def _start_singular(pair: Pair, random: np.random.Generator) -> None:
    matrix = np.eye(4)
    matrix[:3, 0] = random.normal(size=3)
    matrix[:3, 1] = matrix[:3, 0] * random.choice((0.0, 2.0, -1.0))
    _start(pair, matrix)


def _start_numbers(pair: Pair, random: np.random.Generator) -> None:
    matrix = np.eye(4).ravel()
    matrix[int(random.integers(0, 16))] = float(random.choice((1e10, *_NOT_FINITE)))
    _start(pair, matrix[: 16 if random.random() < 0.8 else 9])


def _start_elsewhere(pair: Pair, random: np.random.Generator) -> None:
    _start(pair, np.eye(4), moving_slices=int(random.integers(0, SIDE)))


def _start_bent(pair: Pair, random: np.random.Generator) -> None:
    values = tensor(random.normal(size=(3, 4, 4, 4)).astype(np.float32))
    _start(pair, np.eye(4), displacement_field=pb.DisplacementField(values=values, grid_matrix=np.eye(4).ravel()))


WRONG: tuple[Change, ...] = (
    _constant,
    _nowhere_finite,
    _all_padding,
    _shape,
    _cut,
    _data_type,
    _spacing,
    _direction,
    _origin,
    _mixed_frames,
    _another_scale,
    _padding,
    _modality,
    _model,
    _stiffness,
    _start_singular,
    _start_numbers,
    _start_elsewhere,
    _start_bent,
)


def _here_and_there_not_finite(pair: Pair, random: np.random.Generator) -> None:
    voxels = FIXED.astype(np.float32)
    voxels[random.random(voxels.shape) < 0.01] = random.choice(_NOT_FINITE)
    pair.show(0, voxels)


def _huge(pair: Pair, random: np.random.Generator) -> None:
    pair.show(int(random.integers(2)), np.asarray(FIXED * float(random.choice((1e34, 1e-40))), np.float32))


def _noise(pair: Pair, random: np.random.Generator) -> None:
    pair.show(1, random.integers(0, 9, MOVING.shape).astype(np.uint8))


def _one_voxel(pair: Pair, random: np.random.Generator) -> None:
    voxels = np.zeros(FIXED.shape, np.uint8)
    voxels[tuple(random.integers(0, FIXED.shape))] = 255
    pair.show(0, voxels)


def _thin(pair: Pair, random: np.random.Generator) -> None:
    pair.show(1, random.integers(0, 99, (4, 30, 50)).astype(np.uint16))


def _mirrored(pair: Pair, _: np.random.Generator) -> None:
    pair.message.moving.geometry.CopyFrom(FIXED_PLACE)
    pair.message.fixed.geometry.CopyFrom(MOVING_PLACE)


def _strange_start(pair: Pair, random: np.random.Generator) -> None:
    matrix = np.diag([*random.choice((-1.0, 0.05, 1.0, 20.0), size=3), 1.0])
    matrix[:3, 3] = random.choice((0.0, 1e5), size=3)
    _start(pair, matrix)


ABSURD: tuple[Change, ...] = (
    _here_and_there_not_finite,
    _huge,
    _noise,
    _one_voxel,
    _thin,
    _mirrored,
    _strange_start,
)
