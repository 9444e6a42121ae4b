"""Geometry, intensity mapping and encoding options."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilum.codec.tensors import check_image_size
from hilum.errors import InvalidField, OutsideImage
from hilum.geometry import DetectorFrame, Frame, ImageGeometry, PatientFrame, PixelFrame, PlaneFrame
from hilum.types import Identity, IntensityMapping, PercentileRange, Placement, Window
from hilum.v1 import image_pb2

ASPECT_RANGE = (0.05, 20.0)
MAX_GROUP_BYTES = 128
_UID = re.compile(r"[0-9.]{0,64}")


@dataclass(frozen=True)
class EncodingOptions:
    """What, beside the pixels, decides an embedding; `model` empty means the server's default."""

    mapping: IntensityMapping
    model: str = ""
    pixel_aspect: float = 1.0
    padding_value: float | None = None
    group: str = ""


def mapping_to_message(mapping: IntensityMapping) -> image_pb2.IntensityMapping:
    """Returns the message for an intensity mapping."""
    match mapping:
        case Window(center, width):
            return image_pb2.IntensityMapping(window=image_pb2.Window(center=center, width=width))
        case PercentileRange(lower, upper):
            return image_pb2.IntensityMapping(percentile=image_pb2.PercentileRange(lower=lower, upper=upper))
        case Identity():
            return image_pb2.IntensityMapping(identity=image_pb2.IdentityMapping())


def mapping_from_message(message: image_pb2.IntensityMapping, field: str) -> IntensityMapping:
    """Returns the mapping; InvalidField when none is set or its numbers are out of range."""
    match message.WhichOneof("mapping"):
        case "window":
            window = Window(message.window.center, message.window.width)
            if not (math.isfinite(window.center) and math.isfinite(window.width) and window.width > 0):
                raise InvalidField("center must be finite and width above 0", field=f"{field}.window")
            return window
        case "percentile":
            stretch = PercentileRange(message.percentile.lower, message.percentile.upper)
            if not 0 <= stretch.lower < stretch.upper <= 100:
                raise InvalidField("0 <= lower < upper <= 100 must hold", field=f"{field}.percentile")
            return stretch
        case "identity":
            return Identity()
        case _:
            raise InvalidField("is required: choose a window, a percentile stretch, or identity for uint8", field=field)


def options_to_message(options: EncodingOptions) -> image_pb2.EncodingOptions:
    """Returns the message for encoding options."""
    return image_pb2.EncodingOptions(
        model=options.model,
        intensity_mapping=mapping_to_message(options.mapping),
        pixel_aspect=options.pixel_aspect,
        padding_value=options.padding_value,
        group=options.group,
    )


def options_from_message(message: image_pb2.EncodingOptions, field: str) -> EncodingOptions:
    """Returns the options; InvalidField where a number is out of range."""
    mapping = mapping_from_message(message.intensity_mapping, f"{field}.intensity_mapping")
    aspect = message.pixel_aspect if message.HasField("pixel_aspect") else 1.0
    if not ASPECT_RANGE[0] <= aspect <= ASPECT_RANGE[1]:
        raise InvalidField("must lie between 0.05 and 20", field=f"{field}.pixel_aspect")
    padding = message.padding_value if message.HasField("padding_value") else None
    if padding is not None and not math.isfinite(padding):
        raise InvalidField("must be finite", field=f"{field}.padding_value")
    return EncodingOptions(mapping, message.model, aspect, padding, group_from_message(message.group, f"{field}.group"))


def group_from_message(group: str, field: str) -> str:
    """Returns the group; InvalidField, which does not quote it, where it is too long."""
    if len(group.encode()) > MAX_GROUP_BYTES:
        raise InvalidField(f"takes at most {MAX_GROUP_BYTES} bytes of UTF-8", field=field)
    return group


def placement_to_message(placement: Placement) -> image_pb2.ImagePlacement:
    """Returns the message for a placement."""
    return image_pb2.ImagePlacement(
        offset_x_px=placement.offset_x_px,
        offset_y_px=placement.offset_y_px,
        full_size=size_to_message(placement.full_size),
    )


def placement_from_message(
    message: image_pb2.ImagePlacement, field: str, *, crop_size: tuple[int, int], max_pixels: int
) -> Placement:
    """Returns where a crop of this (height, width) lies.

    Raises:
        LimitExceeded: The full image is too large.
        OutsideImage: The crop does not lie inside the full image.
    """
    full_height, full_width = message.full_size.height_px, message.full_size.width_px
    check_image_size((full_height, full_width), f"{field}.full_size", max_pixels=max_pixels)
    height, width = crop_size
    if message.offset_y_px + height > full_height or message.offset_x_px + width > full_width:
        raise OutsideImage(
            f"a crop of {height} x {width} at row {message.offset_y_px}, column {message.offset_x_px} "
            f"does not lie inside {full_height} x {full_width}",
            field=field,
        )
    return Placement(message.offset_x_px, message.offset_y_px, (full_height, full_width))


def size_to_message(size: Sequence[int]) -> image_pb2.ImageSize:
    """Returns the message for (height, width)."""
    return image_pb2.ImageSize(height_px=size[0], width_px=size[1])


def size_from_message(message: image_pb2.ImageSize) -> tuple[int, int]:
    """Returns (height, width)."""
    return message.height_px, message.width_px


def geometry_to_message(geometry: ImageGeometry) -> image_pb2.ImageGeometry:
    """Returns the message for a geometry."""
    match geometry.frame:
        case PatientFrame() as frame:
            patient = image_pb2.PatientLps(
                origin_mm=frame.origin_mm,
                direction=np.ravel(frame.direction).tolist(),
                spacing_mm=frame.spacing_mm,
                frame_of_reference_uid=frame.frame_of_reference_uid,
            )
            return image_pb2.ImageGeometry(patient_lps=patient)
        case DetectorFrame(spacing, magnification):
            detector = image_pb2.DetectorPlane(imager_pixel_spacing_mm=spacing, magnification=magnification)
            return image_pb2.ImageGeometry(detector_plane=detector)
        case PlaneFrame(spacing):
            return image_pb2.ImageGeometry(image_plane_mm=image_pb2.ImagePlaneMm(spacing_mm=spacing))
        case PixelFrame():
            return image_pb2.ImageGeometry(pixel_plane=image_pb2.PixelPlane())


def geometry_from_message(message: image_pb2.ImageGeometry, field: str) -> ImageGeometry:
    """Returns the geometry; absent or zero spacing means pixels. InvalidField for impossible numbers."""
    kind = message.WhichOneof("frame")
    try:
        return ImageGeometry(_frame(message, kind))
    except ValueError as error:
        raise InvalidField(str(error), field=f"{field}.{kind}") from error


def _frame(message: image_pb2.ImageGeometry, kind: str | None) -> Frame:
    if kind == "patient_lps":
        patient = message.patient_lps
        if not any(patient.spacing_mm[:2]):
            return PixelFrame()
        x, y, z = _exactly(3, patient.origin_mm, "origin_mm")
        a, b, c, d, e, f, g, h, i = _exactly(9, patient.direction, "direction")
        dx, dy, dz = _exactly(3, patient.spacing_mm, "spacing_mm")
        axes = ((a, b, c), (d, e, f), (g, h, i))
        # It is kept with transforms: digits and dots leave no room for a name.
        if not _UID.fullmatch(patient.frame_of_reference_uid):
            raise ValueError("frame_of_reference_uid must be a DICOM UID: at most 64 digits and dots")
        return PatientFrame((x, y, z), axes, (dx, dy, dz), patient.frame_of_reference_uid)
    if kind == "detector_plane":
        detector = message.detector_plane
        if not any(detector.imager_pixel_spacing_mm):
            return PixelFrame()
        x, y = _exactly(2, detector.imager_pixel_spacing_mm, "imager_pixel_spacing_mm")
        return DetectorFrame((x, y), detector.magnification if detector.HasField("magnification") else None)
    if kind == "image_plane_mm" and any(message.image_plane_mm.spacing_mm):
        x, y = _exactly(2, message.image_plane_mm.spacing_mm, "spacing_mm")
        return PlaneFrame((x, y))
    return PixelFrame()


def _exactly(count: int, numbers: Sequence[float], name: str) -> list[float]:
    if len(numbers) != count:
        raise ValueError(f"{name} holds {len(numbers)} numbers instead of {count}")
    return [float(number) for number in numbers]
