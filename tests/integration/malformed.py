"""Requests to register images that are wrong, or legal but absurd: made from a seed, the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.fusing import (
    FIXED,
    FIXED_CENTRE,
    MOVING,
    MOVING_CENTRE,
    MOVING_SIZE,
    SIZE,
    mask,
    organ,
    pair,
    patient,
    registering,
    transform,
)
from tests.contract.messages import box, tensor

Request: TypeAlias = pb.RegisterImagesRequest
Change: TypeAlias = Callable[[Request, np.random.Generator], None]

ABSURD_EVERY = 25
"""Of so many requests one is legal but absurd: it is worked on, which takes its time."""
_NOT_FINITE = (np.nan, np.inf, -np.inf)
_BENT = np.zeros((2, *SIZE), np.float32)


def requests(count: int, seed: int) -> Iterator[tuple[bool, Request]]:
    """Yields whether a request must be refused, and the request."""
    random = np.random.default_rng(seed)
    for number in range(count):
        wrong = number % ABSURD_EVERY != 0
        request = registering(
            targets=[pair(organ(SIZE, FIXED_CENTRE), organ(MOVING_SIZE, MOVING_CENTRE))]
            if random.random() < 0.5
            else [],
            transform_model=int(random.integers(0, 5)),
        )
        changes = WRONG if wrong else ABSURD
        chosen = random.choice(len(changes), size=int(random.integers(1, 4)), replace=False)
        for index in chosen:
            changes[index](request, random)
        yield wrong, request


def _either(request: Request, random: np.random.Generator) -> pb.FusionImage:
    return request.fixed if random.random() < 0.5 else request.moving


def _number(random: np.random.Generator, *values: float) -> float:
    return float(random.choice(values))


def _not_finite(request: Request, random: np.random.Generator) -> None:
    pixels = random.normal(size=SIZE).astype(np.float32)
    pixels[tuple(random.integers(0, SIZE))] = random.choice(_NOT_FINITE)
    _either(request, random).pixels.CopyFrom(tensor(pixels))


def _constant(request: Request, random: np.random.Generator) -> None:
    _either(request, random).pixels.CopyFrom(tensor(np.full(SIZE, random.integers(-9, 9), np.int16)))


def _all_padding(request: Request, random: np.random.Generator) -> None:
    which = _either(request, random)
    which.pixels.CopyFrom(tensor(np.full(SIZE, 7, np.int16)))
    which.padding_value = 7


def _shape(request: Request, random: np.random.Generator) -> None:
    shape = [int(side) for side in random.choice((0, 1, 7, 60, 80, 2**31, 2**32 - 1), size=random.integers(0, 5))]
    pixels = _either(request, random).pixels
    if shape not in (list(SIZE), list(MOVING_SIZE)):
        pixels.shape[:] = shape


def _small(request: Request, random: np.random.Generator) -> None:
    size = (int(random.integers(1, 8)), int(random.integers(1, 60)))
    _either(request, random).pixels.CopyFrom(tensor(random.normal(size=size).astype(np.float32)))
    del request.targets[:]


def _cut(request: Request, random: np.random.Generator) -> None:
    pixels = _either(request, random).pixels
    pixels.data = pixels.data[: int(random.integers(0, len(pixels.data)))]


def _data_type(request: Request, random: np.random.Generator) -> None:
    _either(request, random).pixels.data_type = image_pb2.DataType.ValueType(random.choice((0, 5, 99)))


def _spacing(request: Request, random: np.random.Generator) -> None:
    spacing = (_number(random, -1, np.nan, np.inf, 1e-9, 1e9), 1.0, 1.0)
    _either(request, random).geometry.CopyFrom(patient(spacing=spacing))


def _direction(request: Request, random: np.random.Generator) -> None:
    direction = tuple(random.choice((0.0, 1.0, np.nan, 1e300), size=9)) if random.random() < 0.5 else (1.0,) * 4
    if direction != (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0):
        _either(request, random).geometry.CopyFrom(patient(direction=direction))


def _apart(request: Request, random: np.random.Generator) -> None:
    request.fixed.geometry.CopyFrom(patient(spacing=(1.0, 1.0, 1.0)))
    request.moving.geometry.CopyFrom(patient(spacing=(_number(random, 1e-3, 1e3),) * 2 + (1.0,)))


def _relation(request: Request, random: np.random.Generator) -> None:
    request.view_relation = pb.ViewRelation.ValueType(random.choice((0, 3, -1)))


def _model(request: Request, random: np.random.Generator) -> None:
    request.transform_model = pb.TransformModel.ValueType(random.choice((5, 99, -1)))


def _measure(request: Request, random: np.random.Generator) -> None:
    request.similarity_measure = pb.SimilarityMeasure.ValueType(random.choice((4, 99, -1)))


def _padding(request: Request, random: np.random.Generator) -> None:
    _either(request, random).padding_value = random.choice(_NOT_FINITE)


def _target_size(request: Request, random: np.random.Generator) -> None:
    sides = int(random.integers(1, 99)), int(random.integers(1, 59))
    request.targets.append(pair(np.ones(sides, np.bool_), organ(MOVING_SIZE, MOVING_CENTRE)))


def _target_empty(request: Request, _: np.random.Generator) -> None:
    request.targets.append(pair(organ(SIZE, FIXED_CENTRE), np.zeros(MOVING_SIZE, np.bool_)))


def _target_missing(request: Request, _: np.random.Generator) -> None:
    request.targets.append(pb.TargetPair())


def _targets_too_many(request: Request, _: np.random.Generator) -> None:
    request.targets.extend([pair(organ(SIZE, FIXED_CENTRE), organ(MOVING_SIZE, MOVING_CENTRE))] * 17)


def _target_outside(request: Request, random: np.random.Generator) -> None:
    far = _number(random, 1e3, -1e3, np.nan, np.inf)
    request.targets.append(pair(box(far, 1, far + 5, 9), organ(MOVING_SIZE, MOVING_CENTRE)))


def _landmark(request: Request, random: np.random.Generator) -> None:
    bad = _number(random, -1.0, 1e9, *_NOT_FINITE)
    request.landmarks.add(in_fixed=image_pb2.Point(x=bad, y=3), in_moving=image_pb2.Point(x=1, y=1))


def _landmark_weight(request: Request, random: np.random.Generator) -> None:
    weight = _number(random, -1.0, 1e9, *_NOT_FINITE)
    request.landmarks.add(in_fixed=image_pb2.Point(), in_moving=image_pb2.Point(), weight=weight)


def _landmarks_too_many(request: Request, _: np.random.Generator) -> None:
    for _number_of in range(101):
        request.landmarks.add(in_fixed=image_pb2.Point(x=1, y=1), in_moving=image_pb2.Point(x=1, y=1))


def _start_singular(request: Request, random: np.random.Generator) -> None:
    a, b = random.normal(size=2)
    scale = _number(random, 0.0, 2.0, -1.0)
    start = transform(pixel_matrix=[a, b, 1, scale * a, scale * b, 1, 0, 0, 1])
    request.initial_transform.CopyFrom(start)


def _start_numbers(request: Request, random: np.random.Generator) -> None:
    matrix = np.eye(3).ravel()
    matrix[int(random.integers(0, 9))] = _number(random, 1e10, *_NOT_FINITE)
    request.initial_transform.CopyFrom(transform(pixel_matrix=matrix[: 9 if random.random() < 0.8 else 8]))


def _start_elsewhere(request: Request, random: np.random.Generator) -> None:
    height, width = (int(side) for side in random.integers(0, 50, 2))
    size = image_pb2.ImageSize(height_px=height, width_px=width)
    request.initial_transform.CopyFrom(transform(fixed_size=size))


def _start_bent(request: Request, _: np.random.Generator) -> None:
    request.initial_transform.CopyFrom(transform(displacement_field=pb.DisplacementField(values=tensor(_BENT))))


def _region(request: Request, random: np.random.Generator) -> None:
    sides = int(random.integers(1, 59)), int(random.integers(1, 99))
    request.rigid_region.CopyFrom(mask(random.random(sides) < 0.5))


def _stiffness(request: Request, random: np.random.Generator) -> None:
    request.stiffness = _number(random, -1.0, 0.0, 1e9, *_NOT_FINITE)


WRONG: tuple[Change, ...] = (
    _not_finite,
    _constant,
    _all_padding,
    _shape,
    _small,
    _cut,
    _data_type,
    _spacing,
    _direction,
    _apart,
    _relation,
    _model,
    _measure,
    _padding,
    _target_size,
    _target_empty,
    _target_missing,
    _targets_too_many,
    _target_outside,
    _landmark,
    _landmark_weight,
    _landmarks_too_many,
    _start_singular,
    _start_numbers,
    _start_elsewhere,
    _start_bent,
    _region,
    _stiffness,
)


def _pixels(request: Request, random: np.random.Generator, fixed: NDArray[Any], moving: NDArray[Any]) -> None:
    del request.targets[:]
    for which, pixels in ((request.fixed, fixed), (request.moving, moving)):
        if pixels.shape == (SIZE if which is request.fixed else MOVING_SIZE):
            which.pixels.CopyFrom(tensor(pixels))
    del random


def _huge(request: Request, random: np.random.Generator) -> None:
    scale = _number(random, 1e38, -1e38, 1e-38, 1e-44)
    _pixels(request, random, *(np.asarray(one * scale, np.float32) for one in (FIXED / 1000.0, MOVING / 1000.0)))


def _noise(request: Request, random: np.random.Generator) -> None:
    _pixels(request, random, *(random.integers(0, 9, size).astype(np.uint8) for size in (SIZE, MOVING_SIZE)))


def _one_pixel(request: Request, random: np.random.Generator) -> None:
    one, other = np.zeros(SIZE, np.uint8), np.zeros(MOVING_SIZE, np.uint8)
    one[tuple(random.integers(0, SIZE))] = other[tuple(random.integers(0, MOVING_SIZE))] = 255
    _pixels(request, random, one, other)


def _nearly_all_padding(request: Request, random: np.random.Generator) -> None:
    sparse = np.where(random.random(SIZE) < 0.01, random.integers(1, 99, SIZE), 0).astype(np.int16)
    request.fixed.pixels.CopyFrom(tensor(sparse))
    request.fixed.padding_value = 0


def _mirrored(request: Request, random: np.random.Generator) -> None:
    request.moving.pixels.CopyFrom(tensor(np.ascontiguousarray(MOVING[:, ::-1])))
    del random


def _mixed_frames(request: Request, random: np.random.Generator) -> None:
    detector = image_pb2.DetectorPlane(imager_pixel_spacing_mm=[0.5, 0.5])
    frames = (patient(), image_pb2.ImageGeometry(), image_pb2.ImageGeometry(detector_plane=detector))
    for which in (request.fixed, request.moving):
        which.geometry.CopyFrom(frames[int(random.integers(0, len(frames)))])


def _elongated(request: Request, _: np.random.Generator) -> None:
    request.fixed.geometry.CopyFrom(patient(spacing=(1.0, 15.0, 1.0)))
    request.moving.geometry.CopyFrom(patient(spacing=(15.0, 1.0, 1.0)))


def _strange_start(request: Request, random: np.random.Generator) -> None:
    starts = (
        (-1, 0, 80, 0, 1, 0),
        (1, 0, 1e6, 0, 1, 0),
        (0.01, 0, 0, 0, 0.01, 0),
        (100, 0, 0, 0, 100, 0),
        (0, 9, 0, -9, 0, 0),
    )
    request.initial_transform.CopyFrom(transform(pixel_matrix=[*starts[int(random.integers(0, 5))], 0, 0, 1]))


def _contradicting_landmarks(request: Request, random: np.random.Generator) -> None:
    for _ in range(int(random.integers(1, 100))):
        x, y = random.uniform(0, 1, 2) * (MOVING_SIZE[1] - 1, MOVING_SIZE[0] - 1)
        request.landmarks.add(
            in_fixed=image_pb2.Point(x=30, y=30), in_moving=image_pb2.Point(x=x, y=y), weight=_number(random, 1e-9, 1e3)
        )


def _everything_rigid(request: Request, random: np.random.Generator) -> None:
    request.transform_model = pb.TRANSFORM_MODEL_DEFORMABLE
    request.rigid_region.CopyFrom(mask(np.full(SIZE, random.random() < 0.5)))
    request.stiffness = _number(random, 0.01, 100.0)


def _wrong_targets(request: Request, random: np.random.Generator) -> None:
    corner = np.zeros(MOVING_SIZE, np.bool_)
    corner[0, 0] = True
    everything = np.ones(SIZE, np.bool_)
    request.targets.extend([pair(everything, corner)] * int(random.integers(1, 17 - len(request.targets))))


def _any_measure(request: Request, random: np.random.Generator) -> None:
    request.similarity_measure = pb.SimilarityMeasure.ValueType(int(random.integers(0, 4)))
    request.view_relation = pb.ViewRelation.ValueType(int(random.integers(1, 3)))


ABSURD: tuple[Change, ...] = (
    _huge,
    _noise,
    _one_pixel,
    _nearly_all_padding,
    _mirrored,
    _mixed_frames,
    _elongated,
    _strange_start,
    _contradicting_landmarks,
    _everything_rigid,
    _wrong_targets,
    _any_measure,
)
