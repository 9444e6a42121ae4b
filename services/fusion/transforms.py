"""Transforms that this service made, kept under their content's id."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from hilum.codec.transforms import transform_from_message, transform_to_message
from hilum.errors import InvalidArgument, TransformNotFound
from hilum.serving.cache import ValueCache
from hilum.serving.memory_cache import ByteBoundedLru
from hilum.serving.sealed_value import CorruptValue, seal, unseal
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb

KIND = "transform"


class TransformStore:
    """Keeps transforms in memory and in a cache that replicas share; a value that does not verify is a miss.

    Args:
        local_bytes: Memory for serialised transforms.
        cache: The shared cache.
        telemetry: Where damaged values are counted.
    """

    def __init__(self, local_bytes: int, cache: ValueCache, telemetry: Telemetry) -> None:
        self._local: ByteBoundedLru[tuple[str, bytes], bytes] = ByteBoundedLru(local_bytes, len)
        self._cache = cache
        self._telemetry = telemetry
        telemetry.watch_memory(KIND, self._local)

    async def put(self, transform: Transform, tenant: str) -> None:
        """Keeps a transform for a tenant."""
        tag, identity = tenant_tag(tenant), transform.transform_id
        value = seal(KIND, tag, identity, transform_to_message(transform).SerializeToString())
        self._local.put((tag, identity), value)
        await self._cache.put(tag, identity, value)

    async def get(self, identity: bytes, tenant: str) -> Transform:
        """Returns the tenant's transform of this id.

        Raises:
            TransformNotFound: It is not known, or no longer.
        """
        tag = tenant_tag(tenant)
        value = self._local.get((tag, identity)) or await self._cache.get(tag, identity)
        if value is not None:
            try:
                message = pb.Transform.FromString(bytes(unseal(value, KIND, tag, identity)))
                return transform_from_message(message, "transform")
            except (CorruptValue, DecodeError, InvalidArgument) as error:
                self._telemetry.cache_event(KIND, "corrupt")
                self._telemetry.log.warning("corrupt_value", kind=KIND, error=type(error).__name__)
        raise TransformNotFound(
            "no transform is known under this id; send it inline, or register again", field="transform.transform_id"
        )
