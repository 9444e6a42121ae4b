"""FusionService: messages to the fusion cores and back."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, aclosing
from typing import Any, TypeVar

import grpc
from numpy.typing import NDArray

from hilum.codec.evaluations import KnownPlaces, evaluation_to_message
from hilum.codec.fusion import image_from_message, targets_from_message
from hilum.codec.fusion_capabilities import capabilities_to_message
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
from hilum.digest import image_digest
from hilum.errors import InvalidField, TransformFlagged
from hilum.fusion_capabilities import FusionCapabilities
from hilum.intensity import valid_pixels
from hilum.serving.audit import audit_record
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.newest import unhindered
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.purge_tag import PurgeTag, purge_tags
from hilum.serving.telemetry import Telemetry, rpc_facts
from hilum.serving.tenant import TenantKeys, current_tenant
from hilum.transform import Transform
from hilum.types import RegistrationProgress, ViewRelation
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import fusion_service_pb2_grpc
from services.fusion.evaluation import evaluate
from services.fusion.fusing import fuse
from services.fusion.posing import Posing
from services.fusion.projection import project_volume
from services.fusion.registering import Registering, RegistrationTask
from services.fusion.registering_volumes import RegisteringVolumes
from services.fusion.resampling import resample
from services.fusion.transforms import TransformStore

Event = TypeVar("Event")

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
        keys: Tenants' keys, for tags of what transforms derive from.
        permits: How many calls may run at once, and how many may wait.
        held: What volumes, and transforms of streams, take their bytes from.
        pool: Threads for numerical work.
        capabilities: What the service says of itself, with the limits that requests are held to.
        telemetry: Counts transforms by their flags.
    """

    def __init__(
        self,
        registering: Registering,
        volumes: RegisteringVolumes,
        posing: Posing,
        transforms: TransformStore,
        keys: TenantKeys,
        *,
        permits: Permits,
        held: ByteBudget,
        pool: ComputePool,
        capabilities: FusionCapabilities,
        telemetry: Telemetry,
    ) -> None:
        self._registering = registering
        self._volumes = volumes
        self._posing = posing
        self._transforms = transforms
        self._keys = keys
        self._permits = permits
        self._held = held
        self._pool = pool
        self._capabilities = capabilities
        self._limits = capabilities.limits
        self._telemetry = telemetry

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
            first.projection, max_bytes=self._limits.max_volume_bytes, max_image_pixels=self._limits.max_image_pixels
        )
        check_answer_bytes(
            4 * math.prod(request.projected_size), "projection.shape", max_bytes=self._limits.max_message_bytes
        )
        self._permits.refuse_if_full()
        # No permit while the volume arrives: a caller that sends slowly keeps nobody waiting.
        with self._held.held(request.volume.nbytes):
            voxels = await request.volume.receive(request_iterator, "projection")
            async with self._permits.acquire():
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
        since = self._transforms.memory.now()
        task = self._task(request)
        self._permits.refuse_if_full()
        work = self._permitted(self._registering.run(task))
        async with aclosing(unhindered(work, RegistrationProgress)) as events:
            async for event in events:
                if isinstance(event, RegistrationProgress):
                    yield pb.RegisterImagesResponse(progress=progress_to_message(event))
                else:
                    tags = await self._pool.run(_tags, task, self._keys.key(task.tenant))
                    for transform in (event.transform, event.inverse):
                        audit_record().concerns("transform_id", transform.transform_id)
                        await self._transforms.put(transform, task.tenant, tags, since=since)
                    rpc_facts().add(flags=",".join(event.transform.flags), register_ms=event.total_ms)
                    self._telemetry.transform_made(event.transform.flags)
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
        since, tenant = self._transforms.memory.now(), current_tenant()
        request = VolumeRegistrationRequest.from_message(first.registration, max_bytes=self._limits.max_volume_bytes)
        self._permits.refuse_if_full()
        with self._held.held(request.fixed.nbytes + request.moving.nbytes):
            fixed = await request.fixed.receive(request_iterator, "registration", followed=True)
            moving = await request.moving.receive(request_iterator, "registration")
            work = self._permitted(self._volumes.run(request, fixed, moving))
            async with aclosing(unhindered(work, RegistrationProgress)) as events:
                async for event in events:
                    if isinstance(event, RegistrationProgress):
                        yield pb.RegisterVolumesResponse(progress=progress_to_message(event))
                    else:
                        tags = await self._pool.run(_volume_tags, (fixed, moving), self._keys.key(tenant))
                        for transform in (event.transform, event.inverse):
                            audit_record().concerns("transform_id", transform.transform_id)
                            await self._transforms.put(transform, tenant, tags, since=since)
                        rpc_facts().add(flags=",".join(event.transform.flags), register_ms=event.total_ms)
                        self._telemetry.transform_made(event.transform.flags)
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
            first.estimation, max_bytes=self._limits.max_volume_bytes, max_image_pixels=self._limits.max_image_pixels
        )
        self._permits.refuse_if_full()
        with self._held.held(request.volume.nbytes):
            voxels = await request.volume.receive(request_iterator, "estimation")
            work = self._permitted(self._posing.run(request, voxels))
            async with aclosing(unhindered(work, RegistrationProgress)) as events:
                async for event in events:
                    if isinstance(event, RegistrationProgress):
                        yield pb.EstimatePoseResponse(progress=progress_to_message(event))
                    else:
                        rpc_facts().add(flags=",".join(event.flags), pose_ms=event.total_ms)
                        self._telemetry.transform_made(event.flags)
                        yield pb.EstimatePoseResponse(pose=pose_to_message(event))

    async def FuseImages(  # noqa: N802
        self, request: pb.FuseImagesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.FuseImagesResponse:
        """Fuses the moving image into the fixed one."""
        limit = self._limits.max_image_pixels
        fixed = image_from_message(request.fixed, "fixed", max_pixels=limit, mapping_required=True)
        moving = image_from_message(request.moving, "moving", max_pixels=limit, mapping_required=True)
        style = style_from_request(request)
        target = fusion_target(request, fixed.image.size)
        transform = await self._transform(request.transform, request.accepted_flags)
        _require_size(transform.fixed_size, fixed.image.size, "fixed")
        _require_size(transform.moving_size, moving.image.size, "moving")
        check_answer_bytes(
            answer_bytes(style, transform.fixed_size), "fixed.pixels", max_bytes=self._limits.max_message_bytes
        )
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
        moving = image_from_message(request.moving, "moving", max_pixels=self._limits.max_image_pixels).image
        if request.interpolation not in _NEAREST:
            raise InvalidField("is not known here", field="interpolation")
        if not math.isfinite(request.background_value):
            raise InvalidField("must be finite", field="background_value")
        transform = await self._transform(request.transform, request.accepted_flags)
        _require_size(transform.moving_size, moving.size, "moving")
        field = "transform.transform.fixed_size"
        check_image_size(transform.fixed_size, field, max_pixels=self._limits.max_image_pixels)
        answer_bytes = math.prod(transform.fixed_size) * moving.pixels.itemsize
        check_answer_bytes(answer_bytes, field, max_bytes=self._limits.max_message_bytes)
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
        transform = await self._resolved(reference_from_message(request.transform, "transform"))
        moved = await self._pool.run(transformed, transform, points, request)
        return points_to_message(moved, transform.flags)

    async def StreamTransformPoints(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.StreamTransformPointsRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[pb.StreamTransformPointsResponse]:
        """Takes points as they come; a transform stays until another is named."""
        transform: Transform | None = None
        with ExitStack() as holding:
            async for message in request_iterator:
                request = message.asked
                points = points_from_message(request)
                if transform is None or request.HasField("transform"):
                    transform = await self._resolved(reference_from_message(request.transform, "transform"))
                    # It stays for as long as the stream, however seldom points come.
                    holding.close()
                    holding.enter_context(self._held.held(request.transform.ByteSize()))
                if len(points) <= _POINTS_AT_ONCE:
                    # The way to another thread and back takes longer than this.
                    moved = transformed(transform, points, request)
                else:
                    moved = await self._pool.run(transformed, transform, points, request)
                yield pb.StreamTransformPointsResponse(found=points_to_message(moved, transform.flags))

    async def EvaluateRegistration(  # noqa: N802
        self, request: pb.EvaluateRegistrationRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.EvaluateRegistrationResponse:
        """Says how well a transform fits what is known in both images."""
        transform = await self._resolved(reference_from_message(request.transform, "transform"))
        known = KnownPlaces.from_request(request, transform, max_pixels=self._limits.max_image_pixels)
        async with self._permits.acquire():
            found = await self._pool.run(evaluate, transform, known.targets, known.landmarks)
        return evaluation_to_message(found)

    async def _permitted(self, work: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async with self._permits.acquire(), aclosing(work):
            async for event in work:
                yield event

    async def GetCapabilities(  # noqa: N802
        self, request: pb.FusionServiceGetCapabilitiesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.FusionServiceGetCapabilitiesResponse:
        """Lists what the service does, its limits and the verified pairs of modalities."""
        return capabilities_to_message(self._capabilities)

    def _task(self, request: pb.RegisterImagesRequest) -> RegistrationTask:
        limit = self._limits.max_image_pixels
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


def _tags(task: RegistrationTask, tenant_key: bytes) -> tuple[PurgeTag, ...]:
    """Returns what a registration derives from."""
    images = (task.fixed.image, task.moving.image)
    digests = [image_digest(image.pixels) for image in images]
    return purge_tags(tenant_key, digests, [image.group for image in images])


def _volume_tags(volumes: Sequence[NDArray[Any]], tenant_key: bytes) -> tuple[PurgeTag, ...]:
    """Returns what a registration of volumes derives from; a volume's digest is an image's, of three axes."""
    return purge_tags(tenant_key, [image_digest(volume) for volume in volumes], ())


def _require_size(expected: tuple[int, int], actual: tuple[int, int], field: str) -> None:
    if expected != actual:
        raise InvalidField(
            f"is {actual[0]} x {actual[1]}, but the transform was made for {expected[0]} x {expected[1]}",
            field=f"{field}.pixels",
        )
