"""Requests of every RPC, with a marked name in every text field that their messages have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hilum.v1 import decoder_service_pb2, encoder_service_pb2, fusion_service_pb2

FILES = (encoder_service_pb2, decoder_service_pb2, fusion_service_pb2)
_DEEPEST = 6


def methods() -> Iterator[tuple[str, Any]]:
    """Yields the full name and the descriptor of every RPC, such as "/hilum.v1.EncoderService/EncodeImage"."""
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", method


def text_fields(message: Descriptor, before: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Yields the way to every field of text below a message, each message type once on a way."""
    if len(before) > _DEEPEST:
        return
    for field in message.fields:
        way = (*before, field)
        if field.type == FieldDescriptor.TYPE_STRING:
            yield way
        elif field.message_type is not None and field.message_type not in [step.message_type for step in before]:
            yield from text_fields(field.message_type, way)


def marked(request: Message, way: tuple[FieldDescriptor, ...], mark: str) -> Message:
    """Returns a copy of a request with the mark at the end of the way; repeated fields are marked in their first."""
    made = type(request)()
    made.CopyFrom(request)
    at: Any = made
    for step in way[:-1]:
        inner = getattr(at, step.name)
        if step.is_repeated:
            at = inner[0] if len(inner) else inner.add()
        else:
            inner.SetInParent()
            at = inner
    last = way[-1]
    if last.is_repeated:
        getattr(at, last.name).append(mark)
    else:
        setattr(at, last.name, mark)
    return made


def name_of(way: tuple[FieldDescriptor, ...]) -> str:
    """Returns the way as a path, such as options.group."""
    return ".".join(step.name for step in way)
