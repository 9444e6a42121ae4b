"""A fake FusionService: the contract's rules, shifts and maxima instead of registrations and pyramids."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Sequence

import numpy as np

from hilum.codec.evaluations import KnownPlaces, evaluation_to_message
from hilum.codec.fusion import MappedImage, Outline, image_from_message, targets_from_message
from hilum.codec.fusion_capabilities import capabilities_to_message
from hilum.codec.fusion_styles import answer_bytes, fusion_target, style_from_request, target_contrast_to_message
from hilum.codec.images import geometry_to_message
from hilum.codec.masks import mask_to_message
from hilum.codec.points import points_from_message, points_to_message, transformed
from hilum.codec.poses import PoseRequest, pose_to_message
from hilum.codec.registration_options import options_from_request
from hilum.codec.registrations import registration_to_message
from hilum.codec.tensors import check_answer_bytes, check_image_size, tensor_to_message
from hilum.codec.transforms import flags_from_message, flags_to_message, reference_from_message
from hilum.codec.volume_registrations import VolumeRegistrationRequest, volume_result_to_message
from hilum.codec.volumes import VolumeRequest
from hilum.connection import MAX_MESSAGE_BYTES
from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField, ModelNotFound, NoContent, TransformFlagged, TransformNotFound
from hilum.fusion_capabilities import FusionCapabilities, FusionLimits, VerifiedPair, pair_doubts
from hilum.fusion_style import Flicker
from hilum.geometry import Float
from hilum.intensity import grey_levels, valid_pixels
from hilum.registration_options import RegistrationOptions, TransformModel
from hilum.testing.alignment import dice, edge_difference, project, resample, shift_between
from hilum.testing.drawing import View, mask
from hilum.testing.evaluating import evaluated
from hilum.testing.fake import Context, Fake, answering, streaming, tenant_of
from hilum.testing.kept_pose import kept_pose
from hilum.testing.model import FakeModel, check_kinds
from hilum.testing.shifted_volume import shifted_volume
from hilum.testing.styles import shown, target_contrast
from hilum.transform import Transform
from hilum.types import (
    BoolMask,
    DeformationReport,
    ProjectionAxis,
    Prompt,
    Registration,
    StageReport,
    TargetReport,
    ViewRelation,
)
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import fusion_service_pb2_grpc
from hilum.warp import Warp

VERSION, ALGORITHM = "fake", "fake-shift-1"
# As the service has it, so that what is tried with the fake meets the same flags.
VERIFIED_PAIRS = tuple(
    VerifiedPair(fixed, moving, ViewRelation.COMPARABLE, "nothing: a fake", "none")
    for fixed, moving in (("CT", "CT"), ("CT", "CR"), ("CT", "DX"), ("CR", "CT"), ("DX", "CT"))
)
_ARRAY_AXIS = {ProjectionAxis.DEPTH: 0, ProjectionAxis.HEIGHT: 1, ProjectionAxis.WIDTH: 2}


class FakeFusion(Fake, fusion_service_pb2_grpc.FusionServiceServicer):
    """Shifts images on one another by their targets' centroids, or by what is bright in them.

    Args:
        models: Models for targets given as prompts, the default first; their masks are drawn as FakeDecoder does.
        radius_px: Radius of the disc around a point.
        max_image_pixels: Largest image accepted.
        max_volume_bytes: Largest volume accepted.
        verified_pairs: Pairs of modalities that are not flagged UNVERIFIED_MODALITY_PAIR.
    """

    def __init__(
        self,
        models: Sequence[FakeModel] = (FakeModel(),),
        *,
        radius_px: float = 10.0,
        max_image_pixels: int = 64_000_000,
        max_volume_bytes: int = 1 << 30,
        verified_pairs: Sequence[VerifiedPair] = VERIFIED_PAIRS,
    ) -> None:
        super().__init__()
        self._models = tuple(models)
        self._radius_px = radius_px
        self._max_image_pixels = max_image_pixels
        self._max_volume_bytes = max_volume_bytes
        self._verified_pairs = tuple(verified_pairs)
        self._transforms: dict[tuple[str, bytes], Transform] = {}

    def forget(self) -> None:
        """Loses all transforms."""
        self._transforms.clear()

    @answering
    async def ProjectVolume(  # noqa: N802 - the contract's name
        self, request_iterator: AsyncIterator[pb.ProjectVolumeRequest], context: Context
    ) -> pb.ProjectVolumeResponse:
        """Projects a volume, as the service does."""
        del context
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "projection":
            raise InvalidField("the first message must describe the volume", field="projection")
        request = VolumeRequest.from_message(
            first.projection, max_bytes=self._max_volume_bytes, max_image_pixels=self._max_image_pixels
        )
        check_answer_bytes(4 * math.prod(request.projected_size), "projection.shape", max_bytes=MAX_MESSAGE_BYTES)
        along = _ARRAY_AXIS[request.axis]
        pixels = project(
            await request.volume.receive(request_iterator, "projection"),
            along=along,
            method=request.method,
            spacing_mm=request.volume.spacing_mm[2 - along] if request.volume.spacing_mm else 0.0,
            slab=request.slab,
            padding_value=request.volume.padding_value,
        )
        geometry = geometry_to_message(request.projected_geometry())
        return pb.ProjectVolumeResponse(image=tensor_to_message(pixels), geometry=geometry)

    @streaming
    async def RegisterImages(  # noqa: N802
        self, request: pb.RegisterImagesRequest, context: Context
    ) -> AsyncIterator[pb.RegisterImagesResponse]:
        """Finds a shift, with progress."""
        limit = self._max_image_pixels
        fixed = image_from_message(request.fixed, "fixed", max_pixels=limit)
        moving = image_from_message(request.moving, "moving", max_pixels=limit)
        if request.view_relation not in (relation.value for relation in ViewRelation):
            raise InvalidField("must be COMPARABLE or SLAB_AND_PROJECTION", field="view_relation")
        outlines = targets_from_message(request.targets, fixed, moving, max_pixels=limit)
        options = options_from_request(request, fixed.image.size, moving.image.size, max_pixels=limit)
        targets = [
            (self._mask(in_fixed, fixed, request.model), self._mask(in_moving, moving, request.model))
            for in_fixed, in_moving in outlines
        ]
        comparable = request.view_relation == pb.VIEW_RELATION_COMPARABLE
        matrix = shift_between(fixed.image, moving.image, targets if comparable else (), options.landmarks)
        yield pb.RegisterImagesResponse(progress=pb.RegistrationProgress(stage="search", fraction=0.5))
        modalities = fixed.image.source.modality, moving.image.source.modality
        doubts = pair_doubts(*modalities, ViewRelation(request.view_relation), self._verified_pairs)
        registration = _registration(fixed, moving, matrix, targets, options, doubts=doubts, comparable=comparable)
        for transform in (registration.transform, registration.inverse):
            self._transforms[tenant_of(context), transform.transform_id] = transform
        yield pb.RegisterImagesResponse(result=registration_to_message(registration))

    @streaming
    async def RegisterVolumes(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.RegisterVolumesRequest], context: Context
    ) -> AsyncIterator[pb.RegisterVolumesResponse]:
        """Finds a shift, with progress."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "registration":
            raise InvalidField("the first message must describe the volumes", field="registration")
        request = VolumeRegistrationRequest.from_message(first.registration, max_bytes=self._max_volume_bytes)
        fixed = await request.fixed.receive(request_iterator, "registration", followed=True)
        moving = await request.moving.receive(request_iterator, "registration")
        yield pb.RegisterVolumesResponse(progress=pb.RegistrationProgress(stage="search", fraction=0.5))
        result = shifted_volume(request, fixed, moving)
        for transform in (result.transform, result.inverse):
            self._transforms[tenant_of(context), transform.transform_id] = transform
        yield pb.RegisterVolumesResponse(result=volume_result_to_message(result))

    @streaming
    async def EstimatePose(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.EstimatePoseRequest], context: Context
    ) -> AsyncIterator[pb.EstimatePoseResponse]:
        """Keeps the initial pose, and says of views along one direction that they do not show depth."""
        del context
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "estimation":
            raise InvalidField("the first message must say what is known", field="estimation")
        request = PoseRequest.from_message(
            first.estimation, max_bytes=self._max_volume_bytes, max_image_pixels=self._max_image_pixels
        )
        voxels = await request.volume.receive(request_iterator, "estimation")
        yield pb.EstimatePoseResponse(progress=pb.RegistrationProgress(stage="search", fraction=0.5))
        yield pb.EstimatePoseResponse(pose=pose_to_message(kept_pose(request, voxels)))

    @answering
    async def FuseImages(self, request: pb.FuseImagesRequest, context: Context) -> pb.FuseImagesResponse:  # noqa: N802
        """Shows both, the pyramid as the brighter at every pixel; each flag burns one white row at the bottom."""
        limit = self._max_image_pixels
        fixed = image_from_message(request.fixed, "fixed", max_pixels=limit, mapping_required=True)
        moving = image_from_message(request.moving, "moving", max_pixels=limit, mapping_required=True)
        style = style_from_request(request)
        target = fusion_target(request, fixed.image.size)
        transform = self._accepted(request.transform, request.accepted_flags, tenant_of(context))
        _require_size(transform.fixed_size, fixed.image.size, "fixed")
        _require_size(transform.moving_size, moving.image.size, "moving")
        check_answer_bytes(answer_bytes(style, transform.fixed_size), "fixed.pixels", max_bytes=MAX_MESSAGE_BYTES)
        fixed_grey = grey_levels(fixed.image, fixed.mapping)
        moving_grey, covered = resample(
            grey_levels(moving.image, moving.mapping),
            transform.planar_warp,
            transform.fixed_size,
            valid=valid_pixels(moving.image),
        )
        fused = shown(style, fixed_grey, moving_grey, covered)
        contrast = None if target is None else target_contrast(fixed_grey, moving_grey, fused, target)
        frames = fused if isinstance(style, Flicker) else fused[None]
        frames[:, max(0, frames.shape[1] - len(transform.flags)) :] = 255
        return pb.FuseImagesResponse(
            fused=tensor_to_message(fused),
            fixed=tensor_to_message(fixed_grey),
            moving=tensor_to_message(moving_grey),
            moving_coverage=mask_to_message(covered),
            burned_flags=flags_to_message(transform.flags),
            target_contrast=target_contrast_to_message(contrast),
        )

    @answering
    async def ResampleImage(self, request: pb.ResampleImageRequest, context: Context) -> pb.ResampleImageResponse:  # noqa: N802
        """Resamples the moving image, as the service does."""
        moving = image_from_message(request.moving, "moving", max_pixels=self._max_image_pixels).image
        if request.interpolation not in pb.Interpolation.values():
            raise InvalidField("is not known here", field="interpolation")
        if not math.isfinite(request.background_value):
            raise InvalidField("must be finite", field="background_value")
        transform = self._accepted(request.transform, request.accepted_flags, tenant_of(context))
        _require_size(transform.moving_size, moving.size, "moving")
        field = "transform.transform.fixed_size"
        check_image_size(transform.fixed_size, field, max_pixels=self._max_image_pixels)
        answer_bytes = math.prod(transform.fixed_size) * moving.pixels.itemsize
        check_answer_bytes(answer_bytes, field, max_bytes=MAX_MESSAGE_BYTES)
        pixels, covered = resample(
            moving.pixels,
            transform.planar_warp,
            transform.fixed_size,
            nearest=request.interpolation == pb.INTERPOLATION_NEAREST,
            background=request.background_value,
            valid=valid_pixels(moving),
        )
        return pb.ResampleImageResponse(
            image=tensor_to_message(pixels),
            coverage=mask_to_message(covered),
            flags=flags_to_message(transform.flags),
        )

    @answering
    async def EvaluateRegistration(  # noqa: N802
        self, request: pb.EvaluateRegistrationRequest, context: Context
    ) -> pb.EvaluateRegistrationResponse:
        """Says how well a transform fits, as the service does, but for folding and the way back."""
        transform = self._resolved(request.transform, tenant_of(context))
        known = KnownPlaces.from_request(request, transform, max_pixels=self._max_image_pixels)
        return evaluation_to_message(evaluated(transform, known))

    @answering
    async def TransformPoints(  # noqa: N802
        self, request: pb.TransformPointsRequest, context: Context
    ) -> pb.TransformPointsResponse:
        """Takes points from one image to the other, as the service does."""
        points = points_from_message(request)
        transform = self._resolved(request.transform, tenant_of(context))
        return points_to_message(transformed(transform, points, request), transform.flags)

    @streaming
    async def StreamTransformPoints(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.StreamTransformPointsRequest], context: Context
    ) -> AsyncIterator[pb.StreamTransformPointsResponse]:
        """Takes points as they come, as the service does."""
        transform: Transform | None = None
        async for message in request_iterator:
            points = points_from_message(message.asked)
            if transform is None or message.asked.HasField("transform"):
                transform = self._resolved(message.asked.transform, tenant_of(context))
            moved = transformed(transform, points, message.asked)
            yield pb.StreamTransformPointsResponse(found=points_to_message(moved, transform.flags))

    @answering
    async def GetCapabilities(  # noqa: N802
        self, request: pb.FusionServiceGetCapabilitiesRequest, context: Context
    ) -> pb.FusionServiceGetCapabilitiesResponse:
        """Lists what is pretended."""
        del request, context
        limits = FusionLimits(MAX_MESSAGE_BYTES, self._max_image_pixels, self._max_volume_bytes)
        capabilities = FusionCapabilities(VERSION, ALGORITHM, limits, tuple(TransformModel), self._verified_pairs)
        return capabilities_to_message(capabilities)

    def _mask(self, outline: Outline, mapped: MappedImage, model_name: str) -> BoolMask:
        drawn = outline.given
        if isinstance(drawn, Prompt):
            model = next((model for model in self._models if model_name in ("", model.name)), None)
            if model is None:
                raise ModelNotFound("no model of this name is served here")
            check_kinds(drawn, model, outline.field)
            size = mapped.image.size
            view = View(size, model.input_size(size, 1.0), model.image_size_px, (0, 0))
            drawn = mask(drawn, view, scale=1.0, radius_px=self._radius_px)
        if not drawn.any():
            raise NoContent("the mask is empty", field=outline.field)
        return drawn

    def _resolved(self, message: pb.TransformReference, tenant: str) -> Transform:
        reference = reference_from_message(message, "transform")
        if isinstance(reference, Transform):
            return reference
        known = self._transforms.get((tenant, reference))
        if known is None:
            raise TransformNotFound("no transform is known under this id; send it inline, or register again")
        return known

    def _accepted(
        self, message: pb.TransformReference, accepted: Iterable[pb.TransformFlag.ValueType], tenant: str
    ) -> Transform:
        names = flags_from_message(accepted, "accepted_flags")
        transform = self._resolved(message, tenant)
        refused = [flag for flag in transform.flags if flag not in names]
        if refused:
            raise TransformFlagged(f"the transform is flagged {', '.join(refused)}; name these in accepted_flags")
        return transform


def _dice_where(covered: BoolMask, in_fixed: BoolMask, in_moving: BoolMask) -> float:
    in_fixed, in_moving = in_fixed & covered, in_moving & covered
    return dice(in_fixed, in_moving) if in_fixed.any() or in_moving.any() else 0.0


def _registration(
    fixed: MappedImage,
    moving: MappedImage,
    matrix: Float,
    targets: Sequence[tuple[BoolMask, BoolMask]],
    options: RegistrationOptions,
    *,
    doubts: set[str],
    comparable: bool,
) -> Registration:
    size = fixed.image.size
    centred, found = Warp(np.eye(3)), Warp(matrix)
    before, covered_before = resample(moving.image.pixels, centred, size)
    after, covered = resample(moving.image.pixels, found, size)
    reports = [
        TargetReport(
            _dice_where(covered_before, in_fixed, resample(in_moving, centred, size, nearest=True)[0]),
            _dice_where(covered, in_fixed, resample(in_moving, found, size, nearest=True)[0]),
            in_fixed,
            in_moving,
        )
        for in_fixed, in_moving in targets
    ]
    flags = doubts if comparable else doubts | {"VIEWS_DIFFER"}
    flags |= {"LOW_OVERLAP"} if covered.mean() < 0.5 else set()
    flags |= {"MASKS_DISAGREE"} if comparable and any(report.dice_after < 0.5 for report in reports) else set()
    bends = comparable and options.model is TransformModel.DEFORMABLE
    transform = Transform.from_matrix(
        matrix,
        size,
        moving.image.size,
        fixed_geometry=fixed.image.geometry,
        moving_geometry=moving.image.geometry,
        flags=tuple(flags),
        algorithm=ALGORITHM,
        displacement_field=DisplacementField(np.zeros((2, *size))) if bends else None,
    )
    missed = [transform.apply(pair.fixed_px)[0] - pair.moving_px for pair in options.landmarks]
    overlaps = float(covered_before.mean()), float(covered.mean())
    return Registration(
        transform=transform,
        match_loss_before=edge_difference(fixed.image.pixels, before, covered_before),
        match_loss_after=edge_difference(fixed.image.pixels, after, covered),
        overlap_fraction=overlaps[1],
        stages=(StageReport("search", True, *overlaps),),
        targets=tuple(reports),
        total_ms=0.0,
        inverse=transform.inverse(),
        deformation=DeformationReport(0.0, 1.0, 1.0, 0.0) if bends else None,
        landmark_errors_px=tuple(float(np.linalg.norm(distance)) for distance in missed),
    )


def _require_size(expected: tuple[int, int], actual: tuple[int, int], field: str) -> None:
    if expected != actual:
        raise InvalidField(f"is {actual}, but the transform was made for {expected}", field=f"{field}.pixels")
