"""Requests to purge."""

from __future__ import annotations

from hilum.codec.images import group_from_message
from hilum.digest import DIGEST_BYTES
from hilum.errors import InvalidField, LimitExceeded
from hilum.v1 import encoder_service_pb2 as pb

MAX_DIGESTS = 4096


def checked_purge(request: pb.PurgeEmbeddingsRequest) -> tuple[list[bytes], str]:
    """Returns the image digests and the group, "" for none.

    Raises:
        LimitExceeded: More than 4096 digests.
        InvalidField: A digest has not 32 bytes, the group is too long, or there is neither.
    """
    digests = list(request.image_digests)
    if len(digests) > MAX_DIGESTS:
        raise LimitExceeded(f"{len(digests)} digests; at most {MAX_DIGESTS}", field="image_digests")
    for index, digest in enumerate(digests):
        if len(digest) != DIGEST_BYTES:
            raise InvalidField(f"has {len(digest)} bytes instead of 32", field=f"image_digests[{index}]")
    group = group_from_message(request.group, "group")
    if not digests and not group:
        raise InvalidField("is empty: give digests, a group, or both", field="image_digests")
    return digests, group
