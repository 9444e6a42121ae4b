"""Requests that FusionService refuses: the fake and the service."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.fusing import (
    FIXED,
    FIXED_CENTRE,
    MOVING,
    MOVING_CENTRE,
    MOVING_SIZE,
    SIZE,
    by_value,
    fusing,
    image,
    mask,
    moving_points,
    organ,
    pair,
    patient,
    projecting,
    registering,
    resampling,
    transform,
)
from tests.contract.messages import box, identity, point, tensor, window
from tests.contract.refusals import Case, refused
from tests.contract.wiring import Caller

NAN = float("nan")
VOXELS = np.zeros((3, 4, 5), np.int16)
FLAGGED = by_value(flags=[pb.TRANSFORM_FLAG_LOW_OVERLAP])
UNKNOWN = pb.TransformReference(transform_id=b"x" * 32)
DETECTOR = image_pb2.ImageGeometry(detector_plane=image_pb2.DetectorPlane(imager_pixel_spacing_mm=[0.2, 0.2]))
OUTLINES = organ(SIZE, FIXED_CENTRE), organ(MOVING_SIZE, MOVING_CENTRE)
NO_WINDOW = {"intensity_mapping": None}
FIELD, TENSOR, LIMIT = "INVALID_FIELD", "INVALID_TENSOR", "LIMIT_EXCEEDED"


def _case(name: str, method: str, request: Any, reason: str, field: str = "") -> Case:
    build: Callable[[Caller], Any] = request if callable(request) else lambda _: request
    return Case(name, method, build, reason, field)


def _project(name: str, reason: str, field: str, **fields: Any) -> Case:
    return _case(name, "ProjectVolume", lambda _: projecting(VOXELS, **fields), reason, field)


def _stream(name: str, reason: str, field: str, *contents: Any) -> Case:
    """Voxels, or None for the description of a volume."""

    def messages(_: Caller) -> Any:
        description = next(projecting(VOXELS))
        return iter([description if data is None else pb.ProjectVolumeRequest(voxels=data) for data in contents])

    return _case(name, "ProjectVolume", messages, reason, field)


def _register(name: str, reason: str, field: str = "", **fields: Any) -> Case:
    return _case(name, "RegisterImages", registering(**fields), reason, field)


def _fuse(name: str, reason: str, field: str = "", **fields: Any) -> Case:
    return _case(name, "FuseImages", fusing(**fields), reason, field)


def _resample(name: str, reason: str, field: str = "", **fields: Any) -> Case:
    return _case(name, "ResampleImage", resampling(**fields), reason, field)


def _points(name: str, reason: str, field: str = "", points: Any = ((1, 2),), **fields: Any) -> Case:
    return _case(name, "TransformPoints", moving_points(points, **fields), reason, field)


def _landmark(fixed: tuple[float, float], moving: tuple[float, float], weight: float = 0.0) -> pb.LandmarkPair:
    one, other = (image_pb2.Point(x=x, y=y) for x, y in (fixed, moving))
    return pb.LandmarkPair(in_fixed=one, in_moving=other, weight=weight)


def _size(height: int, width: int) -> image_pb2.ImageSize:
    return image_pb2.ImageSize(height_px=height, width_px=width)


def _box_only(caller: Caller) -> pb.RegisterImagesRequest:
    return registering(targets=[pair(point(40, 30), OUTLINES[1])], model=caller.served.box_model)


_NO_MAGNIFICATION = {"fixed_geometry": DETECTOR, "moving_geometry": DETECTOR}
_PATIENTS = {"fixed_geometry": patient(), "moving_geometry": patient()}
_CUT = image_pb2.Tensor(shape=MOVING.shape, data_type=image_pb2.DATA_TYPE_INT16, data=tensor(MOVING).data[:-1])
_NOT_A_NUMBER = np.full(SIZE, np.nan, np.float32)

PROJECTIONS = [
    _stream("nothing", FIELD, "projection"),
    _stream("voxels first", FIELD, "projection", bytes(120)),
    _stream("described twice", FIELD, "projection", None, None),
    _stream("too few bytes", TENSOR, "voxels", None, bytes(119)),
    _stream("too many bytes", TENSOR, "voxels", None, bytes(120), bytes(1)),
    _project("two axes", FIELD, "projection.shape", shape=(4, 5)),
    _project("empty axis", FIELD, "projection.shape", shape=(0, 4, 5)),
    _project("huge", LIMIT, "projection.shape", shape=(2**32 - 1, 2**32 - 1, 2**32 - 1)),
    _project("huge picture", LIMIT, "projection.shape", shape=(1, 2000, 1000), data_type=image_pb2.DATA_TYPE_UINT8),
    _project("long picture", LIMIT, "projection.shape", shape=(1, 1, 16385)),
    _project("type unspecified", FIELD, "projection.data_type", data_type=0),
    _project("type half", FIELD, "projection.data_type", data_type=image_pb2.DATA_TYPE_FLOAT16),
    _project("axis unspecified", FIELD, "projection.axis", axis=0),
    _project("method unknown", FIELD, "projection.method", method=9),
    _project("slab empty", FIELD, "projection.slab", slab=pb.IndexRange(begin=2, end=2)),
    _project("slab beyond", FIELD, "projection.slab", slab=pb.IndexRange(begin=0, end=4)),
    _project("padding NaN", FIELD, "projection.padding_value", padding_value=NAN),
    _project("mm without spacing", FIELD, "projection.geometry", method=pb.PROJECTION_METHOD_ATTENUATION),
    _project("flat voxels", FIELD, "projection.geometry.patient_lps.spacing_mm", geometry=patient(spacing=(1, 1, 0))),
    _project("direction skewed", FIELD, "projection.geometry.patient_lps", geometry=patient(direction=(1,) * 9)),
    _case("NaN", "ProjectVolume", lambda _: projecting(_NOT_A_NUMBER[None]), TENSOR, "voxels"),
]
REGISTRATIONS = [
    _register("no images", TENSOR, "fixed.pixels", fixed=None),
    _register("no moving image", TENSOR, "moving.pixels", moving=None),
    _register("colour", TENSOR, "fixed.pixels", fixed=image(np.zeros((9, 9, 3), np.uint8))),
    _register("NaN", TENSOR, "fixed.pixels", fixed=image(_NOT_A_NUMBER)),
    _register("too large", LIMIT, "moving.pixels", moving=image(np.zeros((1001, 1000), np.uint8))),
    _register("padding NaN", FIELD, "fixed.padding_value", fixed=image(FIXED, padding_value=NAN)),
    _register("window", FIELD, "moving.intensity_mapping.window", moving=image(MOVING, intensity_mapping=window(0, 0))),
    _register("spacing", FIELD, "fixed.geometry.patient_lps", fixed=image(FIXED, geometry=patient(spacing=(1, -1, 1)))),
    _register("relation unspecified", FIELD, "view_relation", view_relation=0),
    _register("relation unknown", FIELD, "view_relation", view_relation=9),
    _register("17 targets", LIMIT, "targets", targets=[pair(*OUTLINES)] * 17),
    _register("no outline", FIELD, "targets[0].in_fixed", targets=[pb.TargetPair()]),
    _register("mask's size", FIELD, "targets[0].in_moving.mask.size", targets=[pair(OUTLINES[0], OUTLINES[0])]),
    _register("mask's bits", TENSOR, "targets[0].in_fixed.mask.packed_bits", targets=[
        pair(image_pb2.Mask(size=_size(*SIZE), packed_bits=image_pb2.PackedBits(data=b"x")), OUTLINES[1])
    ]),
    _register("mask's runs", TENSOR, "targets[0].in_fixed.mask.coco_rle", targets=[
        pair(image_pb2.Mask(size=_size(*SIZE), coco_rle=image_pb2.CocoRle(counts=[2**32 - 1] * 3)), OUTLINES[1])
    ]),
    _register("mask without pixels", FIELD, "targets[0].in_fixed.mask", targets=[
        pair(image_pb2.Mask(size=_size(*SIZE)), OUTLINES[1])
    ]),
    _register("prompt outside", "OUTSIDE_IMAGE", "targets[0].in_fixed.prompt.box", targets=[
        pair(box(100, 1, 120, 9), OUTLINES[1])
    ]),
    _register("prompt empty", FIELD, "targets[0].in_fixed.prompt", targets=[pair(image_pb2.Prompt(), OUTLINES[1])]),
    _register("prompt without mapping", FIELD, "fixed.intensity_mapping", targets=[
        pair(box(20, 22, 38, 44), OUTLINES[1])
    ], fixed=image(FIXED, **NO_WINDOW)),
    _register("model unknown", "MODEL_NOT_FOUND", targets=[pair(box(20, 22, 38, 44), OUTLINES[1])], model="no"),
    _case("points for a box model", "RegisterImages", _box_only, "PROMPT_NOT_SUPPORTED"),
    _register("mask empty", "NO_CONTENT", targets=[pair(mask(np.zeros(SIZE, np.bool_)), OUTLINES[1])]),
    _register("fixed constant", "NO_CONTENT", fixed=image(np.zeros(SIZE, np.int16))),
    _register("model of another contract", FIELD, "transform_model", transform_model=99),
    _register("measure of another contract", FIELD, "similarity_measure", similarity_measure=99),
    _register("landmark outside", "OUTSIDE_IMAGE", "landmarks[0].in_moving", landmarks=[_landmark((1, 1), (90, 1))]),
    _register("landmark NaN", "OUTSIDE_IMAGE", "landmarks[0].in_fixed", landmarks=[_landmark((NAN, 1), (1, 1))]),
    _register("landmark alone", FIELD, "landmarks[0].in_moving", landmarks=[
        pb.LandmarkPair(in_fixed=image_pb2.Point(x=1, y=1))
    ]),
    _register("landmark's weight", FIELD, "landmarks[0].weight", landmarks=[_landmark((1, 1), (1, 1), -1)]),
    _register("101 landmarks", LIMIT, "landmarks", landmarks=[_landmark((1, 1), (1, 1))] * 101),
    _register("start singular", FIELD, "initial_transform.pixel_matrix", initial_transform=transform(
        pixel_matrix=[1, 0, 0, 1, 0, 0, 0, 0, 1]
    )),
    _register("start nearly singular", FIELD, "initial_transform", initial_transform=transform(
        pixel_matrix=[1e-4, 0, 0, 0, 1e-4, 0, 0, 0, 1]
    )),
    _register("start of other images", FIELD, "initial_transform", initial_transform=transform(fixed_size=_size(9, 9))),
    _register("start deformable", FIELD, "initial_transform", initial_transform=transform(
        displacement_field=pb.DisplacementField(values=tensor(np.zeros((2, *SIZE), np.float32)))
    )),
    _register("bone's size", FIELD, "rigid_region.size", rigid_region=mask(OUTLINES[1]),
              transform_model=pb.TRANSFORM_MODEL_DEFORMABLE),
    _register("bone that cannot bend", FIELD, "rigid_region", rigid_region=mask(OUTLINES[0])),
    _register("stiffness without bending", FIELD, "stiffness", stiffness=3.0),
    _register("stiffness zero", FIELD, "stiffness", stiffness=0.0, transform_model=pb.TRANSFORM_MODEL_DEFORMABLE),
    _register("moving all padding", "NO_CONTENT", moving=image(np.full(SIZE, 7, np.int16), padding_value=7)),
]  # fmt: skip
FUSIONS = [
    _fuse("no transform", FIELD, "transform", transform=None),
    _fuse("id short", FIELD, "transform.transform_id", transform=pb.TransformReference(transform_id=b"x")),
    _fuse("id unknown", "TRANSFORM_NOT_FOUND", transform=UNKNOWN),
    _fuse("flagged", "TRANSFORM_FLAGGED", transform=FLAGGED),
    _fuse("flag unspecified", FIELD, "accepted_flags", accepted_flags=[0]),
    _fuse("flag unknown", FIELD, "accepted_flags", accepted_flags=[99]),
    _fuse("mapping missing", FIELD, "fixed.intensity_mapping", fixed=image(FIXED, **NO_WINDOW)),
    _fuse("identity of int16", TENSOR, "pixels", moving=image(MOVING, intensity_mapping=identity())),
    _fuse("7 levels", FIELD, "levels", levels=7),
    _fuse("rule unknown", FIELD, "base_rule", base_rule=9),
    _fuse("style unknown", FIELD, "style", style=9),
    _fuse("window even", FIELD, "window_px", window_px=4),
    _fuse("match of 1", FIELD, "match_threshold", match_threshold=1.0),
    _fuse("energy ratio below 1", FIELD, "energy_ratio", energy_ratio=0.5),
    _fuse("noise floor NaN", FIELD, "noise_floor", noise_floor=NAN),
    _fuse("background above 1", FIELD, "background", background=1.5),
    _fuse("fidelity of 0", FIELD, "gradient_fidelity", gradient_fidelity=0.0),
    _fuse("opacity above 1", FIELD, "opacity", style=pb.FUSION_STYLE_ALPHA_BLEND, opacity=1.5),
    _fuse("tile too large", FIELD, "tile_px", style=pb.FUSION_STYLE_CHECKERBOARD, tile_px=5000),
    _fuse("another style's option", FIELD, "tile_px", style=pb.FUSION_STYLE_FLICKER, tile_px=8),
    _fuse("target of another size", FIELD, "target.size", target=mask(np.ones((3, 3), np.bool_))),
    _fuse("target empty", "NO_CONTENT", target=mask(np.zeros(SIZE, np.bool_))),
    _fuse("another fixed size", FIELD, "fixed.pixels", fixed=image(FIXED[1:])),
    _fuse("another moving size", FIELD, "moving.pixels", moving=image(MOVING[1:])),
]
TRANSFORMS = [
    _fuse(name, FIELD, f"transform.transform{field}", transform=by_value(**fields))
    for name, field, fields in (
        ("8 numbers", ".pixel_matrix", {"pixel_matrix": [1] * 8}),
        ("NaN", ".pixel_matrix", {"pixel_matrix": [NAN, 0, 0, 0, 1, 0, 0, 0, 1]}),
        ("huge numbers", ".pixel_matrix", {"pixel_matrix": [1e300, 0, 0, 0, 1, 0, 0, 0, 1]}),
        ("not affine", ".pixel_matrix", {"pixel_matrix": [1, 0, 0, 0, 1, 0, 0, 1, 1]}),
        ("not invertible", ".pixel_matrix", {"pixel_matrix": [1, 0, 0, 1, 0, 0, 0, 0, 1]}),
        ("no size", "", {"fixed_size": _size(0, 5)}),
        ("another's id", ".transform_id", {"transform_id": b"x" * 32}),
        ("flag unspecified", ".flags", {"flags": [0]}),
        ("geometry", ".moving_geometry.patient_lps", {"moving_geometry": patient(spacing=(NAN, 1, 1))}),
    )
]
RESAMPLINGS = [
    _resample("id unknown", "TRANSFORM_NOT_FOUND", transform=UNKNOWN),
    _resample("flagged", "TRANSFORM_FLAGGED", transform=FLAGGED),
    _resample("interpolation unknown", FIELD, "interpolation", interpolation=9),
    _resample("background NaN", FIELD, "background_value", background_value=NAN),
    _resample("half", TENSOR, "moving.pixels", moving=image(MOVING.astype(np.float16))),
    _resample("bytes cut", TENSOR, "moving.pixels", moving=pb.FusionImage(pixels=_CUT)),
    _resample("another moving size", FIELD, "moving.pixels", moving=image(MOVING[1:])),
    *(
        _resample(f"grid {size}", LIMIT, "transform.transform.fixed_size", transform=by_value(fixed_size=_size(*size)))
        for size in ((2**32 - 1, 2**32 - 1), (1, 16385))
    ),
]  # fmt: skip
POINTS = [
    _points("direction unspecified", FIELD, "direction", direction=0),
    _points("unit unspecified", FIELD, "unit", unit=0),
    _points("unit unknown", FIELD, "unit", unit=9),
    _points("one number", FIELD, "points[1]", points=((1, 2), (1,))),
    _points("three numbers", FIELD, "points[0]", points=((1, 2, 3),)),
    _points("two for the patient", FIELD, "points[0]", unit=pb.POINT_UNIT_PATIENT_LPS_MM),
    _points("NaN", FIELD, "points[0]", points=((1, NAN),)),
    _points("100001", LIMIT, "points", points=((1, 2),) * 100_001),
    _points("id unknown", "TRANSFORM_NOT_FOUND", transform=UNKNOWN),
    _points("mm without spacing", "FRAME_NOT_SUPPORTED", unit=pb.POINT_UNIT_PLANE_MM),
    _points(
        "mm at an unknown magnification",
        "FRAME_NOT_SUPPORTED",
        unit=pb.POINT_UNIT_PLANE_MM,
        transform=by_value(**_NO_MAGNIFICATION),
    ),
    _points(
        "patient without patients",
        "FRAME_NOT_SUPPORTED",
        unit=pb.POINT_UNIT_PATIENT_LPS_MM,
        points=((1, 2, 3),),
        transform=by_value(**_NO_MAGNIFICATION),
    ),
    _points(
        "off the plane",
        "FRAME_NOT_SUPPORTED",
        unit=pb.POINT_UNIT_PATIENT_LPS_MM,
        points=((1, 2, 1.1),),
        transform=by_value(**_PATIENTS),
    ),
]
REFUSALS = [*PROJECTIONS, *REGISTRATIONS, *FUSIONS, *TRANSFORMS, *RESAMPLINGS, *POINTS]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case.method}-{case.name}")
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused with the reason and the field path that the contract promises."""

    def call() -> None:
        answer = caller.call(case.method, case.request(caller))
        if case.method == "RegisterImages":
            list(answer)

    refusal = refused(call)
    assert (refusal.reason, refusal.field) == (case.reason, case.field)
