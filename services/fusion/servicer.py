"""FusionService: messages to the fusion cores and back."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

import grpc

from hilum.codec.fusion import image_from_message, targets_from_message
from hilum.codec.fusion_styles import answer_bytes, fusion_target, style_from_request, target_contrast_to_message
from hilum.codec.images import geometry_to_message
from hilum.codec.masks import mask_to_message
from hilum.codec.points import points_from_message, points_to_message, transformed
from hilum.codec.poses import PoseRequest, pose_to_message
from hilum.codec.registration_options import options_from_request
from hilum.codec.registrations import progress_to_message, registration_to_message
from hilum.codec.tensors import check_answer_bytes, check_image_size, tensor_to_message
from hilum.codec.transforms import flags_from_message, flags_to_message, reference_from_message
from hilum.codec.volume_registrations import VolumeRegistrationRequest, volume_result_to_message
from hilum.codec.volumes import VolumeRequest
from hilum.errors import InvalidField, TransformFlagged
from hilum.intensity import valid_pixels
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.telemetry import rpc_facts
from hilum.serving.tenant import current_tenant
from hilum.transform import Transform
from hilum.types import RegistrationProgress, ViewRelation
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import fusion_service_pb2_grpc
from services.fusion.fusing import fuse
from services.fusion.posing import Posing
from services.fusion.projection import project_volume
from services.fusion.registering import Registering, RegistrationTask
from services.fusion.registering_volumes import RegisteringVolumes
from services.fusion.resampling import resample
from services.fusion.transforms import TransformStore

# Moved where they are, without a thread.
_POINTS_AT_ONCE = 256
_NEAREST = {
    pb.INTERPOLATION_UNSPECIFIED: False,
    pb.INTERPOLATION_LINEAR: False,
    pb.INTERPOLATION_NEAREST: True,
}


class FusionServicer(fusion_service_pb2_grpc.FusionServiceServicer):
    """Serves projection, registration, poses and fusion.

    Args:
        registering: The registration core with its targets.
        volumes: The registration core of volumes.
        posing: The pose core.
        transforms: Where transforms are kept.
        permits: How many calls may run at once, and how many may wait.
        pool: Threads for numerical work.
        max_image_pixels: Largest image accepted.
        max_volume_bytes: Largest volume accepted.
        max_message_bytes: Largest answer.
    """

    def __init__(
        self,
        registering: Registering,
        volumes: RegisteringVolumes,
        posing: Posing,
        transforms: TransformStore,
        *,
        permits: Permits,
        pool: ComputePool,
        max_image_pixels: int,
        max_volume_bytes: int,
        max_message_bytes: int,
    ) -> None:
        self._registering = registering
        self._volumes = volumes
        self._posing = posing
        self._transforms = transforms
        self._permits = permits
        self._pool = pool
        self._max_image_pixels = max_image_pixels
        self._max_volume_bytes = max_volume_bytes
        self._max_message_bytes = max_message_bytes

    async def ProjectVolume(  # noqa: N802 - the contract's name
        self,
        request_iterator: AsyncIterator[pb.ProjectVolumeRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> pb.ProjectVolumeResponse:
        """Projects a volume that arrives in pieces."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "projection":
            raise InvalidField("the first message must describe the volume", field="projection")
        request = VolumeRequest.from_message(
            first.projection, max_bytes=self._max_volume_bytes, max_image_pixels=self._max_image_pixels
        )
        check_answer_bytes(4 * math.prod(request.projected_size), "projection.shape", max_bytes=self._max_message_bytes)
        async with self._permits.acquire():
            voxels = await request.volume.receive(request_iterator, "projection")
            projection = await self._pool.run(
                project_volume,
                voxels,
                request.volume.spacing_mm,
                request.axis,
                request.method,
                slab=request.slab,
                padding_value=request.volume.padding_value,
            )
        rpc_facts().add(voxels=voxels.size)
        return pb.ProjectVolumeResponse(
            image=tensor_to_message(projection.pixels), geometry=geometry_to_message(request.projected_geometry())
        )

    async def RegisterImages(  # noqa: N802
        self, request: pb.RegisterImagesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[pb.RegisterImagesResponse]:
        """Registers two images, with progress."""
        task = self._task(request, context.time_remaining())
        async with self._permits.acquire(), aclosing(self._registering.run(task)) as events:
            async for event in events:
                if isinstance(event, RegistrationProgress):
                    yield pb.RegisterImagesResponse(progress=progress_to_message(event))
                else:
                    for transform in (event.transform, event.inverse):
                        await self._transforms.put(transform, task.tenant)
                    rpc_facts().add(flags=",".join(event.transform.flags), register_ms=event.total_ms)
                    yield pb.RegisterImagesResponse(result=registration_to_message(event))

    async def RegisterVolumes(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.RegisterVolumesRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[pb.RegisterVolumesResponse]:
        """Registers two volumes that arrive in pieces, with progress."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "registration":
            raise InvalidField("the first message must describe the volumes", field="registration")
        request = VolumeRegistrationRequest.from_message(first.registration, max_bytes=self._max_volume_bytes)
        tenant = current_tenant()
        async with self._permits.acquire():
            fixed = await request.fixed.receive(request_iterator, "registration", followed=True)
            moving = await request.moving.receive(request_iterator, "registration")
            async with aclosing(self._volumes.run(request, fixed, moving)) as events:
                async for event in events:
                    if isinstance(event, RegistrationProgress):
                        yield pb.RegisterVolumesResponse(progress=progress_to_message(event))
                    else:
                        for transform in (event.transform, event.inverse):
                            await self._transforms.put(transform, tenant)
                        rpc_facts().add(flags=",".join(event.transform.flags), register_ms=event.total_ms)
                        yield pb.RegisterVolumesResponse(result=volume_result_to_message(event))

    async def EstimatePose(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.EstimatePoseRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[pb.EstimatePoseResponse]:
        """Finds the pose of a volume that arrives in pieces, with progress."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "estimation":
            raise InvalidField("the first message must say what is known", field="estimation")
        request = PoseRequest.from_message(
            first.estimation, max_bytes=self._max_volume_bytes, max_image_pixels=self._max_image_pixels
        )
        async with self._permits.acquire():
            voxels = await request.volume.receive(request_iterator, "estimation")
            async with aclosing(self._posing.run(request, voxels)) as events:
                async for event in events:
                    if isinstance(event, RegistrationProgress):
                        yield pb.EstimatePoseResponse(progress=progress_to_message(event))
                    else:
                        rpc_facts().add(flags=",".join(event.flags), pose_ms=event.total_ms)
                        yield pb.EstimatePoseResponse(pose=pose_to_message(event))

    async def FuseImages(  # noqa: N802
        self, request: pb.FuseImagesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.FuseImagesResponse:
        """Fuses the moving image into the fixed one."""
        limit = self._max_image_pixels
        fixed = image_from_message(request.fixed, "fixed", max_pixels=limit, mapping_required=True)
        moving = image_from_message(request.moving, "moving", max_pixels=limit, mapping_required=True)
        style = style_from_request(request)
        target = fusion_target(request, fixed.image.size)
        transform = await self._transform(request.transform, request.accepted_flags)
        _require_size(transform.fixed_size, fixed.image.size, "fixed")
        _require_size(transform.moving_size, moving.image.size, "moving")
        check_answer_bytes(answer_bytes(style, transform.fixed_size), "fixed.pixels", max_bytes=self._max_message_bytes)
        async with self._permits.acquire():
            fused = await self._pool.run(fuse, fixed, moving, transform, style, target)
        return pb.FuseImagesResponse(
            fused=tensor_to_message(fused.fused),
            fixed=tensor_to_message(fused.fixed),
            moving=tensor_to_message(fused.moving),
            moving_coverage=mask_to_message(fused.coverage),
            burned_flags=flags_to_message(transform.flags),
            target_contrast=target_contrast_to_message(fused.target_contrast),
        )

    async def ResampleImage(  # noqa: N802
        self, request: pb.ResampleImageRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.ResampleImageResponse:
        """Resamples the moving image onto the fixed grid."""
        moving = image_from_message(request.moving, "moving", max_pixels=self._max_image_pixels).image
        if request.interpolation not in _NEAREST:
            raise InvalidField("is not known here", field="interpolation")
        if not math.isfinite(request.background_value):
            raise InvalidField("must be finite", field="background_value")
        transform = await self._transform(request.transform, request.accepted_flags)
        _require_size(transform.moving_size, moving.size, "moving")
        field = "transform.transform.fixed_size"
        check_image_size(transform.fixed_size, field, max_pixels=self._max_image_pixels)
        answer_bytes = math.prod(transform.fixed_size) * moving.pixels.itemsize
        check_answer_bytes(answer_bytes, field, max_bytes=self._max_message_bytes)
        async with self._permits.acquire():
            resampled = await self._pool.run(
                resample,
                moving.pixels,
                transform.planar_warp,
                transform.fixed_size,
                nearest=_NEAREST[request.interpolation],
                background=request.background_value,
                valid=valid_pixels(moving),
            )
        return pb.ResampleImageResponse(
            image=tensor_to_message(resampled.pixels),
            coverage=mask_to_message(resampled.coverage),
            flags=flags_to_message(transform.flags),
        )

    async def TransformPoints(  # noqa: N802
        self, request: pb.TransformPointsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.TransformPointsResponse:
        """Takes points from one image to the other."""
        points = points_from_message(request)
        reference = reference_from_message(request.transform, "transform")
        transform = await self._resolved(reference)
        moved = await self._pool.run(transformed, transform, points, request)
        return points_to_message(moved, transform.flags)

    async def StreamTransformPoints(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.StreamTransformPointsRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[pb.StreamTransformPointsResponse]:
        """Takes points as they come; a transform stays until another is named."""
        transform: Transform | None = None
        async for message in request_iterator:
            request = message.asked
            points = points_from_message(request)
            if transform is None or request.HasField("transform"):
                transform = await self._resolved(reference_from_message(request.transform, "transform"))
            if len(points) <= _POINTS_AT_ONCE:
                # The way to another thread and back takes longer than this.
                moved = transformed(transform, points, request)
            else:
                moved = await self._pool.run(transformed, transform, points, request)
            yield pb.StreamTransformPointsResponse(found=points_to_message(moved, transform.flags))

    def _task(self, request: pb.RegisterImagesRequest, remaining_s: float | None) -> RegistrationTask:
        limit = self._max_image_pixels
        fixed = image_from_message(request.fixed, "fixed", max_pixels=limit)
        moving = image_from_message(request.moving, "moving", max_pixels=limit)
        if request.view_relation not in (relation.value for relation in ViewRelation):
            raise InvalidField("must be COMPARABLE or SLAB_AND_PROJECTION", field="view_relation")
        return RegistrationTask(
            fixed=fixed,
            moving=moving,
            view_relation=ViewRelation(request.view_relation),
            targets=targets_from_message(request.targets, fixed, moving, max_pixels=limit),
            options=options_from_request(request, fixed.image.size, moving.image.size, max_pixels=limit),
            model=request.model,
            tenant=current_tenant(),
            remaining_s=remaining_s,
        )

    async def _resolved(self, reference: Transform | bytes) -> Transform:
        if isinstance(reference, bytes):
            return await self._transforms.get(reference, current_tenant())
        return reference

    async def _transform(
        self, message: pb.TransformReference, accepted: Iterable[pb.TransformFlag.ValueType]
    ) -> Transform:
        reference = reference_from_message(message, "transform")
        names = flags_from_message(accepted, "accepted_flags")
        transform = await self._resolved(reference)
        refused = [flag for flag in transform.flags if flag not in names]
        if refused:
            raise TransformFlagged(
                f"the transform is flagged {', '.join(refused)}; name these in accepted_flags to use it all the same",
                field="accepted_flags",
            )
        return transform


def _require_size(expected: tuple[int, int], actual: tuple[int, int], field: str) -> None:
    if expected != actual:
        raise InvalidField(
            f"is {actual[0]} x {actual[1]}, but the transform was made for {expected[0]} x {expected[1]}",
            field=f"{field}.pixels",
        )
