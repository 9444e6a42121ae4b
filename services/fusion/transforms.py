"""Transforms that this service made, kept under their content's id."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from hilum.codec.transforms import transform_from_message, transform_to_message
from hilum.errors import InvalidArgument, TransformNotFound
from hilum.serving.cache import ValueCache
from hilum.serving.cache_keys import TRANSFORM
from hilum.serving.purge_tag import PurgeTag
from hilum.serving.purgeable_memory import PurgeableMemory
from hilum.serving.sealed_value import CorruptValue, seal, unseal
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb


class TransformStore:
    """Keeps transforms in memory and in a cache that replicas share; a value that does not verify is a miss.

    Args:
        local_bytes: Memory for serialised transforms.
        cache: The shared cache.
        telemetry: Where damaged values are counted.
        local_ttl_s: How long they stay in memory at most, in seconds.

    Attributes:
        memory: What stays in memory, to be purged.
    """

    def __init__(
        self, local_bytes: int, cache: ValueCache, telemetry: Telemetry, *, local_ttl_s: float = float("inf")
    ) -> None:
        self.memory: PurgeableMemory[bytes] = PurgeableMemory(local_bytes, len, ttl_s=local_ttl_s)
        self._cache = cache
        self._telemetry = telemetry
        telemetry.watch_memory(TRANSFORM, self.memory.values)

    async def put(self, transform: Transform, tenant: str, tags: Sequence[PurgeTag], *, since: float) -> None:
        """Keeps a transform for a tenant.

        Args:
            transform: The transform.
            tenant: For whom.
            tags: The images that it was made from, and their groups.
            since: `memory.now()` when they arrived; nothing is kept where one was purged after that.
        """
        tag, identity = tenant_tag(tenant), transform.transform_id
        value = seal(TRANSFORM, tag, identity, transform_to_message(transform).SerializeToString(), tags=tags)
        self.memory.put((tag, identity), value, tags, since=since)
        await self._cache.put(tag, identity, value, age_s=self.memory.now() - since)

    async def get(self, identity: bytes, tenant: str) -> Transform:
        """Returns the tenant's transform of this id.

        Raises:
            TransformNotFound: It is not known, or no longer.
        """
        tag = tenant_tag(tenant)
        value = self.memory.get((tag, identity)) or await self._cache.get(tag, identity)
        if value is not None:
            try:
                message = pb.Transform.FromString(bytes(unseal(value, TRANSFORM, tag, identity)))
                return transform_from_message(message, "transform")
            except (CorruptValue, DecodeError, InvalidArgument) as error:
                self._telemetry.cache_event(TRANSFORM, "corrupt")
                self._telemetry.log.warning("corrupt_value", kind=TRANSFORM, error=type(error).__name__)
        raise TransformNotFound(
            "no transform is known under this id; send it inline, or register again", field="transform.transform_id"
        )
