"""Projecting, registering and fusing through the fusion service."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal, TypeAlias, TypeVar

import grpc.aio
import numpy as np
from numpy.typing import ArrayLike

from hilum.codec.evaluations import evaluation_from_message, evaluation_request
from hilum.codec.fusion_capabilities import capabilities_from_message
from hilum.codec.fusion_inputs import fusion_image_to_message, target_pair_to_message, voxel_pieces
from hilum.codec.fusion_styles import style_to_request, target_contrast_from_response
from hilum.codec.images import geometry_from_message, geometry_to_message
from hilum.codec.masks import mask_from_message, mask_to_message
from hilum.codec.poses import estimation_to_message, pose_from_message
from hilum.codec.registration_options import options_to_request
from hilum.codec.registrations import registration_from_message
from hilum.codec.tensors import tensor_from_message
from hilum.codec.transforms import flag_name, flags_to_message, reference_to_message
from hilum.codec.volume_registrations import registration_to_message, volume_result_from_message
from hilum.connection import Metadata, streamed
from hilum.digest import DATA_TYPE_CODES
from hilum.errors import InternalError
from hilum.evaluation import RegistrationEvaluation
from hilum.fusion_capabilities import FusionCapabilities
from hilum.fusion_style import FusionStyle, PyramidFusion
from hilum.geometry import Float
from hilum.patience import Patience
from hilum.point_stream import PointStream
from hilum.pose import EstimatedPose, Radiograph
from hilum.registration_options import LandmarkPair, RegistrationOptions
from hilum.transform import Transform
from hilum.types import (
    BoolMask,
    Fusion,
    Image,
    ImageSource,
    IntensityMapping,
    Pixels,
    ProjectionAxis,
    ProjectionMethod,
    Registration,
    RegistrationProgress,
    TargetPair,
    ViewRelation,
    Volume,
)
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import fusion_service_pb2_grpc, image_pb2
from hilum.volume_registration import VolumeRegistrationOptions, VolumeRegistrationResult

Event = TypeVar("Event", pb.RegisterImagesResponse, pb.RegisterVolumesResponse, pb.EstimatePoseResponse)
PointUnit: TypeAlias = Literal["px", "plane_mm", "patient_lps_mm"]

_MAX_PIXELS = 1 << 28
_UNITS: dict[str, pb.PointUnit.ValueType] = {
    "px": pb.POINT_UNIT_PX,
    "plane_mm": pb.POINT_UNIT_PLANE_MM,
    "patient_lps_mm": pb.POINT_UNIT_PATIENT_LPS_MM,
}


class FusionCalls:
    """Calls to the fusion service; the half of AsyncClient that works with several images.

    Args:
        fusion: Channel to the service.
        patience: For every call.
        metadata: Sent with every call.
    """

    def __init__(self, fusion: grpc.aio.Channel, *, patience: Patience, metadata: Metadata) -> None:
        self._fusion = fusion_service_pb2_grpc.FusionServiceStub(fusion)
        self._fusion_patience = patience
        self._fusion_metadata = metadata

    async def fusion_capabilities(self) -> FusionCapabilities:
        """Returns what the service does, within which limits, and the pairs of modalities it was verified on."""
        request = pb.FusionServiceGetCapabilitiesRequest()
        response = await self._fusion_patience.answered(
            lambda timeout_s: self._fusion.GetCapabilities(request, timeout=timeout_s, metadata=self._fusion_metadata)
        )
        return capabilities_from_message(response)

    async def project(
        self,
        volume: Volume,
        *,
        axis: ProjectionAxis,
        method: ProjectionMethod,
        slab: tuple[int, int] | None = None,
    ) -> Image:
        """Returns a parallel projection of a volume, float32.

        Args:
            volume: Voxels (depth, height, width); depth towards the feet gives upright pictures.
            axis: Array axis along which rays run.
            method: How rays become pixels.
            slab: Half-open range of indices along the axis; the whole volume where None.
        """
        header = pb.VolumeProjection(
            shape=volume.voxels.shape,
            data_type=image_pb2.DataType.ValueType(DATA_TYPE_CODES[volume.voxels.dtype.name]),
            geometry=geometry_to_message(volume.geometry),
            axis=pb.ProjectionAxis.ValueType(axis.value),
            method=pb.ProjectionMethod.ValueType(method.value),
            slab=pb.IndexRange(begin=slab[0], end=slab[1]) if slab else None,
            padding_value=volume.padding_value,
        )

        async def requests() -> AsyncIterator[pb.ProjectVolumeRequest]:
            yield pb.ProjectVolumeRequest(projection=header)
            for piece in voxel_pieces(volume):
                yield pb.ProjectVolumeRequest(voxels=piece)

        response = await self._fusion_patience.answered(
            lambda timeout_s: self._fusion.ProjectVolume(requests(), timeout=timeout_s, metadata=self._fusion_metadata)
        )
        pixels = tensor_from_message(response.image, "image", types=("float32",))
        source = ImageSource(modality=volume.source.modality, simulated=volume.source.simulated)
        return Image(pixels, geometry_from_message(response.geometry, "geometry"), source=source)

    async def estimate_pose(
        self,
        volume: Volume,
        radiographs: Sequence[Radiograph],
        *,
        initial_pose: ArrayLike | None = None,
        on_progress: Callable[[RegistrationProgress], None] | None = None,
    ) -> EstimatedPose:
        """Returns the rigid pose in which a CT gives one or two radiographs; see hilum.pose.

        Args:
            volume: In Hounsfield units, in the patient (PATIENT_LPS).
            radiographs: With the geometry in which they were taken.
            initial_pose: 4 x 4, rigid: mm of the volume's LPS to mm of the room; the identity where None.
            on_progress: Called with every step, and from the first again where the connection was lost.

        Raises:
            HilumError: What the service answered; see hilum.errors.
        """
        initial = None if initial_pose is None else np.asarray(initial_pose, np.float64)
        header = estimation_to_message(volume, radiographs, initial)

        async def requests() -> AsyncIterator[pb.EstimatePoseRequest]:
            yield pb.EstimatePoseRequest(estimation=header)
            for piece in voxel_pieces(volume):
                yield pb.EstimatePoseRequest(voxels=piece)

        def ask(timeout_s: float) -> Awaitable[pb.EstimatePoseResponse]:
            call = self._fusion.EstimatePose(requests(), timeout=timeout_s, metadata=self._fusion_metadata)
            return _last_event(call, "pose", on_progress)

        return pose_from_message((await self._fusion_patience.answered(ask)).pose)

    async def register(
        self,
        fixed: Image,
        moving: Image,
        *,
        view_relation: ViewRelation,
        targets: Sequence[TargetPair] = (),
        options: RegistrationOptions | None = None,
        fixed_mapping: IntensityMapping | None = None,
        moving_mapping: IntensityMapping | None = None,
        model: str = "",
        on_progress: Callable[[RegistrationProgress], None] | None = None,
    ) -> Registration:
        """Returns the transform that takes points of the fixed image to the moving image.

        It is flagged UNVERIFIED_MODALITY_PAIR unless `fusion_capabilities` lists the images' modalities
        (`Image.source.modality`, which files other than DICOM do not hold).

        Args:
            fixed: The image whose grid results are shown on.
            moving: The image that is brought onto it.
            view_relation: How the two see the body.
            targets: Targets seen in both, as masks or prompts.
            options: Which transformations are considered, and what is known: RegistrationOptions() where None.
            fixed_mapping: For prompts in the fixed image; its own default where None.
            moving_mapping: For prompts in the moving image; its own default where None.
            model: For prompts; "" for the encoder's default.
            on_progress: Called with every step, and from the first again where the connection was lost.

        Raises:
            HilumError: What the service answered; see hilum.errors.
        """
        request = options_to_request(options or RegistrationOptions())
        request.MergeFrom(
            pb.RegisterImagesRequest(
                fixed=fusion_image_to_message(fixed, fixed_mapping),
                moving=fusion_image_to_message(moving, moving_mapping),
                view_relation=pb.ViewRelation.ValueType(view_relation.value),
                targets=[target_pair_to_message(pair) for pair in targets],
                model=model,
            )
        )

        def ask(timeout_s: float) -> Awaitable[pb.RegisterImagesResponse]:
            call = self._fusion.RegisterImages(request, timeout=timeout_s, metadata=self._fusion_metadata)
            return _last_event(call, "result", on_progress)

        return registration_from_message((await self._fusion_patience.answered(ask)).result)

    async def register_volumes(
        self,
        fixed: Volume,
        moving: Volume,
        *,
        options: VolumeRegistrationOptions | None = None,
        on_progress: Callable[[RegistrationProgress], None] | None = None,
    ) -> VolumeRegistrationResult:
        """Returns the transform that takes points of the fixed volume to the moving volume.

        Deformable registration of two volumes takes far longer than of two images: give the client a `timeout_s` of
        minutes.

        Args:
            fixed: The volume whose points the transform takes, in the patient (PATIENT_LPS).
            moving: The volume that they are taken to, likewise; of another modality, spacing or direction.
            options: Which transformations are considered, and what is known: VolumeRegistrationOptions() where None.
            on_progress: Called with every step, and from the first again where the connection was lost.

        Raises:
            HilumError: What the service answered; see hilum.errors.
        """
        header = registration_to_message(fixed, moving, options or VolumeRegistrationOptions())

        async def requests() -> AsyncIterator[pb.RegisterVolumesRequest]:
            yield pb.RegisterVolumesRequest(registration=header)
            for volume in (fixed, moving):
                for piece in voxel_pieces(volume):
                    yield pb.RegisterVolumesRequest(voxels=piece)

        def ask(timeout_s: float) -> Awaitable[pb.RegisterVolumesResponse]:
            call = self._fusion.RegisterVolumes(requests(), timeout=timeout_s, metadata=self._fusion_metadata)
            return _last_event(call, "result", on_progress)

        return volume_result_from_message((await self._fusion_patience.answered(ask)).result)

    async def fuse(
        self,
        fixed: Image,
        moving: Image,
        transform: Transform | bytes,
        *,
        fixed_mapping: IntensityMapping | None = None,
        moving_mapping: IntensityMapping | None = None,
        accepted_flags: Sequence[str] = (),
        style: FusionStyle | None = None,
        target: BoolMask | None = None,
    ) -> Fusion:
        """Returns the two images as one on the fixed image's grid.

        Args:
            fixed: The fixed image.
            moving: The moving image.
            transform: Fixed to moving, or the id of a transform that the service made.
            fixed_mapping: Grey levels of the fixed image; its own default where None.
            moving_mapping: Grey levels of the moving image; its own default where None.
            accepted_flags: Names of quality flags that are accepted; they are drawn into the picture.
            style: How both are shown; PyramidFusion() where None.
            target: (height, width) of the fixed image; PyramidFusion only. It and what lies up to 10 px around it are
                taken from the image in which it has more contrast to noise.
        """
        request = style_to_request(style or PyramidFusion())
        request.MergeFrom(
            pb.FuseImagesRequest(
                fixed=fusion_image_to_message(fixed, fixed_mapping),
                moving=fusion_image_to_message(moving, moving_mapping),
                transform=reference_to_message(transform),
                accepted_flags=flags_to_message(accepted_flags),
                target=None if target is None else mask_to_message(target),
            )
        )
        response = await self._fusion_patience.answered(
            lambda timeout_s: self._fusion.FuseImages(request, timeout=timeout_s, metadata=self._fusion_metadata)
        )
        fused, grey, resampled = (
            tensor_from_message(tensor, name, types=("uint8",), axes=(2, 3))
            for name, tensor in (("fused", response.fused), ("fixed", response.fixed), ("moving", response.moving))
        )
        coverage = mask_from_message(response.moving_coverage, "moving_coverage", size=None, max_pixels=_MAX_PIXELS)
        burned = tuple(flag_name(flag) for flag in response.burned_flags)
        return Fusion(fused, grey, resampled, coverage, burned, target_contrast_from_response(response))

    async def resample(
        self,
        moving: Image,
        transform: Transform | bytes,
        *,
        accepted_flags: Sequence[str] = (),
        nearest: bool = False,
        background_value: float = 0.0,
    ) -> Pixels:
        """Returns the moving image's values on the fixed image's grid.

        Args:
            moving: The moving image.
            transform: Fixed to moving, or its id.
            accepted_flags: Names of quality flags that are accepted.
            nearest: Nearest neighbour, for labels, instead of bilinear.
            background_value: Value outside the moving image.
        """
        request = pb.ResampleImageRequest(
            moving=fusion_image_to_message(moving, None),
            transform=reference_to_message(transform),
            accepted_flags=flags_to_message(accepted_flags),
            interpolation=pb.INTERPOLATION_NEAREST if nearest else pb.INTERPOLATION_LINEAR,
            background_value=background_value,
        )
        response = await self._fusion_patience.answered(
            lambda timeout_s: self._fusion.ResampleImage(request, timeout=timeout_s, metadata=self._fusion_metadata)
        )
        return tensor_from_message(response.image, "image")

    async def evaluate_registration(
        self,
        transform: Transform | bytes,
        *,
        targets: Sequence[tuple[BoolMask, BoolMask]] = (),
        landmarks: Sequence[LandmarkPair] = (),
    ) -> RegistrationEvaluation:
        """Returns how well a transform between two images fits what is known in both.

        Args:
            transform: Fixed to moving, or its id; its flags need not be accepted.
            targets: Masks of the fixed and of the moving image.
            landmarks: Points of both; weights do not count.
        """
        request = evaluation_request(transform, targets, landmarks)
        response = await self._fusion_patience.answered(
            lambda timeout_s: self._fusion.EvaluateRegistration(
                request, timeout=timeout_s, metadata=self._fusion_metadata
            )
        )
        return evaluation_from_message(response)

    async def transform_points(
        self, transform: Transform | bytes, points: ArrayLike, *, unit: PointUnit = "px", inverse: bool = False
    ) -> Float:
        """Returns the places of points in the moving image, or with `inverse` in the fixed one.

        Args:
            transform: Fixed to moving, or its id.
            points: (n, 2), or (n, 3) for patient_lps_mm.
            unit: "px", "plane_mm" or "patient_lps_mm".
            inverse: Points are of the moving image.
        """
        direction = pb.TRANSFORM_DIRECTION_MOVING_TO_FIXED if inverse else pb.TRANSFORM_DIRECTION_FIXED_TO_MOVING
        given = np.atleast_2d(np.asarray(points, dtype=np.float64))
        request = pb.TransformPointsRequest(
            transform=reference_to_message(transform),
            points=[pb.Coordinates(values=point) for point in given.tolist()],
            direction=direction,
            unit=_UNITS[unit],
        )
        response = await self._fusion_patience.answered(
            lambda timeout_s: self._fusion.TransformPoints(request, timeout=timeout_s, metadata=self._fusion_metadata)
        )
        return np.array([list(point.values) for point in response.points])

    def point_stream(
        self, transform: Transform | bytes, *, unit: PointUnit = "px", inverse: bool = False
    ) -> PointStream:
        """Returns a stream for points that come one after the other; use it as an async context manager.

        Args:
            transform: As `transform_points`.
            unit: As `transform_points`.
            inverse: As `transform_points`.
        """
        direction = pb.TRANSFORM_DIRECTION_MOVING_TO_FIXED if inverse else pb.TRANSFORM_DIRECTION_FIXED_TO_MOVING
        call = self._fusion.StreamTransformPoints(metadata=self._fusion_metadata)
        return PointStream(call, transform, direction, _UNITS[unit])


async def _last_event(
    call: AsyncIterable[Event], last: str, on_progress: Callable[[RegistrationProgress], None] | None
) -> Event:
    """Tells of a stream's progress; returns the event that ends it."""
    async for event in streamed(call):
        if event.WhichOneof("event") == last:
            return event
        if on_progress is not None:
            progress = event.progress
            on_progress(RegistrationProgress(progress.stage, progress.fraction, progress.similarity))
    raise InternalError(f"the service ended the stream without a {last}")
