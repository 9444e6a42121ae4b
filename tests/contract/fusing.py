"""Requests to the fusion service, written field by field."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.messages import DATA_TYPES, tensor, window

SIZE = (60, 80)
MOVING_SIZE = (70, 90)
# Moving pixels are fixed pixels moved by this (x, y).
SHIFT = (6.0, -4.0)


def body(size: tuple[int, int], centre: tuple[float, float], *, inverted: bool = False) -> NDArray[np.int16]:
    """Returns a simulated body in cross-section: an ellipse with two organs on a dark background, in HU."""
    y, x = np.ogrid[: size[0], : size[1]]
    x, y = x - centre[0], y - centre[1]
    pixels = np.full(size, -1000.0)
    pixels[(x / 30) ** 2 + (y / 20) ** 2 < 1] = 40
    pixels[((x + 12) / 6) ** 2 + ((y - 3) / 8) ** 2 < 1] = 160
    pixels[((x - 10) / 7) ** 2 + ((y + 5) / 5) ** 2 < 1] = -80
    if inverted:
        pixels[pixels > -1000] = 60 - pixels[pixels > -1000]
    return pixels.astype(np.int16)


def organ(size: tuple[int, int], centre: tuple[float, float]) -> NDArray[np.bool_]:
    """Returns the outline of one of the organs."""
    y, x = np.ogrid[: size[0], : size[1]]
    mask: NDArray[np.bool_] = ((x - centre[0] + 12) / 6) ** 2 + ((y - centre[1] - 3) / 8) ** 2 < 1
    return mask


FIXED_CENTRE = (40.0, 30.0)
MOVING_CENTRE = (FIXED_CENTRE[0] + SHIFT[0], FIXED_CENTRE[1] + SHIFT[1])
FIXED = body(SIZE, FIXED_CENTRE)
MOVING = body(MOVING_SIZE, MOVING_CENTRE, inverted=True)


def image(pixels: NDArray[Any], **fields: Any) -> pb.FusionImage:
    """Returns an image with a window, unless another mapping is given."""
    known: dict[str, Any] = {"pixels": tensor(pixels), "intensity_mapping": window(0, 400)}
    return pb.FusionImage(**known | fields)


def mask(pixels: NDArray[np.bool_]) -> image_pb2.Mask:
    """Returns a mask as packed bits."""
    height, width = pixels.shape
    bits = image_pb2.PackedBits(data=np.packbits(pixels, axis=1).tobytes())
    return image_pb2.Mask(size=image_pb2.ImageSize(height_px=height, width_px=width), packed_bits=bits)


def registering(**fields: Any) -> pb.RegisterImagesRequest:
    """Returns a request to register the two bodies."""
    known: dict[str, Any] = {
        "fixed": image(FIXED),
        "moving": image(MOVING),
        "view_relation": pb.VIEW_RELATION_COMPARABLE,
    }
    return pb.RegisterImagesRequest(**known | fields)


def pair(in_fixed: Any, in_moving: Any) -> pb.TargetPair:
    """Returns a target of masks or prompts."""

    def target(outline: Any) -> pb.Target:
        if isinstance(outline, image_pb2.Prompt):
            return pb.Target(prompt=outline)
        return pb.Target(mask=outline if isinstance(outline, image_pb2.Mask) else mask(outline))

    return pb.TargetPair(in_fixed=target(in_fixed), in_moving=target(in_moving))


def transform(**fields: Any) -> pb.Transform:
    """Returns the transform of the two bodies, without its id."""
    known: dict[str, Any] = {
        "pixel_matrix": [1, 0, SHIFT[0], 0, 1, SHIFT[1], 0, 0, 1],
        "fixed_size": image_pb2.ImageSize(height_px=SIZE[0], width_px=SIZE[1]),
        "moving_size": image_pb2.ImageSize(height_px=MOVING_SIZE[0], width_px=MOVING_SIZE[1]),
    }
    return pb.Transform(**known | fields)


def by_value(**fields: Any) -> pb.TransformReference:
    """Returns a reference to that transform."""
    return pb.TransformReference(transform=transform(**fields))


def fusing(**fields: Any) -> pb.FuseImagesRequest:
    """Returns a request to fuse the two bodies."""
    known: dict[str, Any] = {"fixed": image(FIXED), "moving": image(MOVING), "transform": by_value()}
    return pb.FuseImagesRequest(**known | fields)


def resampling(**fields: Any) -> pb.ResampleImageRequest:
    """Returns a request to resample the moving body."""
    known: dict[str, Any] = {"moving": image(MOVING), "transform": by_value()}
    return pb.ResampleImageRequest(**known | fields)


def evaluating(**fields: Any) -> pb.EvaluateRegistrationRequest:
    """Returns a request to evaluate that transform on the body's organ and a point of it."""
    known: dict[str, Any] = {
        "transform": by_value(),
        "targets": [pair(organ(SIZE, FIXED_CENTRE), organ(MOVING_SIZE, MOVING_CENTRE))],
        "landmarks": [
            pb.LandmarkPair(
                in_fixed=image_pb2.Point(x=FIXED_CENTRE[0], y=FIXED_CENTRE[1]),
                in_moving=image_pb2.Point(x=MOVING_CENTRE[0] + 3, y=MOVING_CENTRE[1] + 4),
            )
        ],
    }
    return pb.EvaluateRegistrationRequest(**known | fields)


def moving_points(points: Any, **fields: Any) -> pb.TransformPointsRequest:
    """Returns a request to take points of the fixed to the moving body, in pixels."""
    known: dict[str, Any] = {
        "transform": by_value(),
        "points": [pb.Coordinates(values=point) for point in points],
        "direction": pb.TRANSFORM_DIRECTION_FIXED_TO_MOVING,
        "unit": pb.POINT_UNIT_PX,
    }
    return pb.TransformPointsRequest(**known | fields)


def patient(
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0),
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
    uid: str = "1.2.3",
) -> image_pb2.ImageGeometry:
    """Returns a PATIENT_LPS geometry."""
    plane = image_pb2.PatientLps(origin_mm=origin, spacing_mm=spacing, direction=direction, frame_of_reference_uid=uid)
    return image_pb2.ImageGeometry(patient_lps=plane)


def projecting(voxels: NDArray[Any], *, chunk_bytes: int = 1000, **fields: Any) -> Iterator[pb.ProjectVolumeRequest]:
    """Returns the messages that project a volume: along depth, by the mean, unless told otherwise."""
    known: dict[str, Any] = {
        "shape": voxels.shape,
        "data_type": DATA_TYPES[voxels.dtype.name],
        "axis": pb.PROJECTION_AXIS_DEPTH,
        "method": pb.PROJECTION_METHOD_MEAN,
    }
    yield pb.ProjectVolumeRequest(projection=pb.VolumeProjection(**known | fields))
    data = tensor(voxels).data
    for begin in range(0, len(data), chunk_bytes):
        yield pb.ProjectVolumeRequest(voxels=data[begin : begin + chunk_bytes])
