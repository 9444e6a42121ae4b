"""Options of registrations."""

from __future__ import annotations

from hilum.codec.masks import mask_from_message, mask_to_message
from hilum.codec.transforms import transform_from_message, transform_to_message
from hilum.errors import InvalidField, LimitExceeded
from hilum.registration_options import (
    MAX_LANDMARKS,
    LandmarkPair,
    RegistrationOptions,
    SimilarityMeasure,
    TransformModel,
)
from hilum.transform import Size
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2


def options_to_request(options: RegistrationOptions) -> pb.RegisterImagesRequest:
    """Returns a request that holds the options and nothing else."""
    initial, region = options.initial, options.rigid_region
    return pb.RegisterImagesRequest(
        transform_model=pb.TransformModel.ValueType(options.model.value),
        similarity_measure=pb.SimilarityMeasure.ValueType(options.measure.value),
        landmarks=[landmark_to_message(pair) for pair in options.landmarks],
        initial_transform=None if initial is None else transform_to_message(initial),
        rigid_region=None if region is None else mask_to_message(region),
        stiffness=None if options.stiffness == 1.0 else options.stiffness,
    )


def options_from_request(
    request: pb.RegisterImagesRequest, fixed_size: Size, moving_size: Size, *, max_pixels: int
) -> RegistrationOptions:
    """Returns the options of a request about images of these (height, width).

    Raises:
        InvalidField: A model or measure is not known, the initial transform cannot be used, a number is out of range, a
            mask has another size, or an option is given that the model has no use for.
        InvalidTensor: The initial transform's displacements are malformed.
        OutsideImage: A landmark lies outside its image.
        LimitExceeded: More than 100 landmarks.
    """
    if len(request.landmarks) > MAX_LANDMARKS:
        raise LimitExceeded(f"{len(request.landmarks)} pairs; at most {MAX_LANDMARKS}", field="landmarks")
    model, measure = request.transform_model, request.similarity_measure
    if model not in pb.TransformModel.values():
        raise InvalidField("is not known here", field="transform_model")
    if measure not in pb.SimilarityMeasure.values():
        raise InvalidField("is not known here", field="similarity_measure")
    initial = region = None
    if request.HasField("initial_transform"):
        initial = transform_from_message(request.initial_transform, "initial_transform")
    if request.HasField("rigid_region"):
        region = mask_from_message(request.rigid_region, "rigid_region", size=fixed_size, max_pixels=max_pixels)
    options = RegistrationOptions(
        TransformModel(model or pb.TRANSFORM_MODEL_AFFINE),
        SimilarityMeasure(measure or pb.SIMILARITY_MEASURE_STRUCTURE),
        initial,
        tuple(landmark_from_message(pair, f"landmarks[{index}]") for index, pair in enumerate(request.landmarks)),
        region,
        request.stiffness if request.HasField("stiffness") else 1.0,
    )
    options.check(fixed_size, moving_size)
    return options


def landmark_to_message(pair: LandmarkPair) -> pb.LandmarkPair:
    """Returns the message for a pair."""
    (fixed_x, fixed_y), (moving_x, moving_y) = pair.fixed_px, pair.moving_px
    return pb.LandmarkPair(
        in_fixed=image_pb2.Point(x=fixed_x, y=fixed_y),
        in_moving=image_pb2.Point(x=moving_x, y=moving_y),
        weight=pair.weight,
    )


def landmark_from_message(message: pb.LandmarkPair, field: str) -> LandmarkPair:
    """Returns the pair; InvalidField where a point is missing."""
    for name in ("in_fixed", "in_moving"):
        if not message.HasField(name):
            raise InvalidField("is required", field=f"{field}.{name}")
    one, other = message.in_fixed, message.in_moving
    return LandmarkPair((one.x, one.y), (other.x, other.y), message.weight or 1.0)
