"""Requests gone wrong, for Hypothesis: valid ones with a few fields replaced by anything their types can hold."""

import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hilum.v1 import encoder_service_pb2, image_pb2
from tests.contract.refusals import refusal_in

_WIDTHS = {1: 1, 2: 2, 3: 2, 4: 2, 5: 4}
_INTEGERS = (0, 1, 2, 3, 7, 64, 255, 16384, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_FLOATS = (0.0, -0.5, 0.05, 1.0, 20.0, 1e-300, 1e300, -1e300, 3.4e38, float("nan"), float("inf"), float("-inf"))
_DEEPEST = 8

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

doubles = st.sampled_from(_FLOATS) | st.floats()


def answer(call: Callable[[], Any]) -> Any:
    """Returns the answer, or how the call was refused; the server's own faults are no refusals."""
    try:
        return call()
    except grpc.RpcError as error:
        refusal = refusal_in(error)
    assert refusal.reason != "INTERNAL"
    return refusal


@st.composite
def tensors(draw: st.DrawFn) -> image_pb2.Tensor:
    """Tensors of any small shape and any bytes, mostly of the right length."""
    shape = draw(st.lists(st.integers(1, 9), min_size=2, max_size=3) | st.lists(st.sampled_from(_INTEGERS), max_size=5))
    data_type = draw(st.sampled_from((*_WIDTHS, 0, 6)))
    length = math.prod(shape) * _WIDTHS.get(data_type, 1)
    if length > 4096 or draw(st.integers(0, 9)) == 0:
        length = draw(st.integers(0, 64))
    value = draw(st.binary(min_size=1, max_size=8))
    data = (value * (length // len(value) + 1))[:length]
    return image_pb2.Tensor(shape=shape, data_type=image_pb2.DataType.ValueType(data_type), data=data)


@st.composite
def mutated(draw: st.DrawFn, valid: Callable[[], Any]) -> Any:
    """Copies of the message that `valid` returns, with one to three fields at any depth replaced or taken away."""
    message = type(valid())()
    message.CopyFrom(valid())
    for _ in range(draw(st.integers(1, 3))):
        _mutate(draw, message, _DEEPEST)
    if isinstance(message, encoder_service_pb2.EncodeImageRequest) and draw(st.booleans()):
        # So that the fault is met behind the check of the digest.
        message.image_digest = _digest_of(message.pixels)
    return message


def _digest_of(tensor: image_pb2.Tensor) -> bytes:
    header = struct.pack(f"<BB{len(tensor.shape)}I", tensor.data_type % 256, len(tensor.shape) % 256, *tensor.shape)
    return hashlib.sha256(b"hilum.image.v1\0" + header + tensor.data).digest()


def _mutate(draw: st.DrawFn, message: Any, depth: int) -> None:
    fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = draw(st.sampled_from(fields))
    if draw(st.integers(0, 7)) == 0:
        message.ClearField(field.name)
        return
    if field.message_type is not None:
        _mutate_message(draw, message, field, depth)
    elif field.is_repeated:
        values = list(getattr(message, field.name))
        values[draw(st.integers(0, len(values))) :] = [draw(_scalars(field))]
        message.ClearField(field.name)
        getattr(message, field.name).extend(values)
    else:
        setattr(message, field.name, draw(_scalars(field)))


def _mutate_message(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    value = getattr(message, field.name)
    if field.is_repeated:
        if not value or draw(st.integers(0, 3)) == 0:
            value.add()
        value = value[draw(st.integers(0, len(value) - 1))]
    else:
        value.SetInParent()
    if isinstance(value, image_pb2.Tensor) and draw(st.booleans()):
        value.CopyFrom(draw(tensors()))
    elif depth:
        _mutate(draw, value, depth - 1)


def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return doubles
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return st.sampled_from(_INTEGERS)
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.integers(0, 9)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case _ if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=40)
        case _:
            return st.text(max_size=40) | st.just("ü" * 3000)
