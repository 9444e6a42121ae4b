"""What the fusion service says of itself."""

from __future__ import annotations

from hilum.errors import InvalidField
from hilum.fusion_capabilities import FusionCapabilities, FusionLimits, VerifiedPair
from hilum.registration_options import TransformModel
from hilum.types import ViewRelation
from hilum.v1 import fusion_service_pb2 as pb


def capabilities_to_message(capabilities: FusionCapabilities) -> pb.FusionServiceGetCapabilitiesResponse:
    """Returns the message for what a service can do."""
    limits = capabilities.limits
    return pb.FusionServiceGetCapabilitiesResponse(
        version=capabilities.version,
        registration_algorithm=capabilities.registration_algorithm,
        limits=pb.FusionLimits(
            max_message_bytes=limits.max_message_bytes,
            max_image_pixels=limits.max_image_pixels,
            max_volume_bytes=limits.max_volume_bytes,
        ),
        transform_models=[pb.TransformModel.ValueType(model.value) for model in capabilities.transform_models],
        verified_pairs=[
            pb.VerifiedModalityPair(
                fixed_modality=pair.fixed_modality,
                moving_modality=pair.moving_modality,
                view_relation=pb.ViewRelation.ValueType(pair.view_relation.value),
                verified_on=pair.verified_on,
                benchmark=pair.benchmark,
            )
            for pair in capabilities.verified_pairs
        ],
    )


def capabilities_from_message(message: pb.FusionServiceGetCapabilitiesResponse) -> FusionCapabilities:
    """Returns what a service can do.

    Models and view relations of a newer contract are passed over: this client could not ask for them.

    Raises:
        InvalidField: There are no limits, which a sound service always states.
    """
    if not message.HasField("limits"):
        raise InvalidField("is missing", field="limits")
    models = {model.value for model in TransformModel}
    relations = {relation.value for relation in ViewRelation}
    return FusionCapabilities(
        message.version,
        message.registration_algorithm,
        FusionLimits(
            message.limits.max_message_bytes, message.limits.max_image_pixels, message.limits.max_volume_bytes
        ),
        tuple(TransformModel(model) for model in message.transform_models if model in models),
        tuple(
            VerifiedPair(
                pair.fixed_modality,
                pair.moving_modality,
                ViewRelation(pair.view_relation),
                pair.verified_on,
                pair.benchmark,
            )
            for pair in message.verified_pairs
            if pair.view_relation in relations
        ),
    )
