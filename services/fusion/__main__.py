"""Runs the fusion service: `python -m services.fusion`. Settings: environment variables HILUM_*."""

from __future__ import annotations

import asyncio
import sys

from hilum.errors import ConfigurationError
from hilum.serving.cache_keys import TRANSFORM
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.purging import PurgeFollower
from hilum.serving.server import Server
from hilum.serving.shared_cache import shared_cache
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantKeys
from hilum.serving.trace_export import environment_tracer
from hilum.serving.upstream import open_upstream
from hilum.v1.fusion_service_pb2_grpc import add_FusionServiceServicer_to_server
from services.fusion.capabilities import fusion_capabilities
from services.fusion.pose import PoseEstimation
from services.fusion.posing import Posing
from services.fusion.registering import Registering
from services.fusion.registering_volumes import RegisteringVolumes
from services.fusion.registration import Registration
from services.fusion.servicer import FusionServicer
from services.fusion.settings import FusionSettings
from services.fusion.targets import TargetSegmenter
from services.fusion.transforms import TransformStore
from services.fusion.volume_registration import VolumeRegistration

SERVICE = "hilum.v1.FusionService"


def fusion_server(settings: FusionSettings, telemetry: Telemetry) -> Server:
    """Returns the server, not started."""
    waiting = settings.running_permits + settings.waiting_permits
    pool = ComputePool(settings.compute_threads, waiting, telemetry=telemetry)
    shared = shared_cache(settings, TRANSFORM, telemetry)
    transforms = TransformStore(settings.local_cache_bytes, shared.cache, telemetry, local_ttl_s=settings.local_ttl_s)
    follower = PurgeFollower(shared.connection, transforms.memory, telemetry)
    encoder = open_upstream(settings.encoder, "encoder", settings, telemetry)
    decoder = open_upstream(settings.decoder, "decoder", settings, telemetry)
    segmenter = TargetSegmenter(encoder, decoder, timeout_s=settings.segmentation_timeout_s)
    capabilities = fusion_capabilities(settings)
    verified = capabilities.verified_pairs
    server = Server(settings, telemetry, dependencies=shared.dependencies)
    server.add(
        SERVICE,
        add_FusionServiceServicer_to_server,
        FusionServicer(
            Registering(Registration(threads=settings.intra_op_threads), segmenter, pool, verified),
            RegisteringVolumes(VolumeRegistration(threads=settings.intra_op_threads), pool, verified),
            Posing(PoseEstimation(threads=settings.intra_op_threads), pool),
            transforms,
            TenantKeys(settings.embedding_key_bytes),
            permits=Permits.of_calls(settings, name="fusion", telemetry=telemetry),
            held=server.held,
            pool=pool,
            capabilities=capabilities,
            telemetry=telemetry,
        ),
    )
    server.resources.push_async_callback(pool.close)
    server.resources.push_async_callback(encoder.close)
    server.resources.push_async_callback(decoder.close)
    server.resources.push_async_callback(shared.close)
    server.warm_ups.append(follower.start)
    server.resources.push_async_callback(follower.close)
    return server


async def run(settings: FusionSettings) -> int:
    """Serves until told to stop; returns the exit code."""
    telemetry = Telemetry("fusion", log_level=settings.log_level, tracer=environment_tracer("fusion"))
    try:
        server = fusion_server(settings, telemetry)
    except ConfigurationError as error:
        telemetry.log.error("cannot_start", error=str(error))  # noqa: TRY400 - the operator's matter
        return 1
    return await server.run_until_signal()


if __name__ == "__main__":
    sys.exit(asyncio.run(run(FusionSettings.load())))
