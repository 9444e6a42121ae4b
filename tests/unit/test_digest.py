"""hilum.digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hilum.digest import embedding_id, image_digest
from hilum.types import Identity, IntensityMapping, PercentileRange, Window

VECTORS = Path(__file__).resolve().parents[2] / "protos" / "hilum" / "v1"


def vectors(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["vectors"]
    return cases


def mapping_of(plain: dict[str, Any]) -> IntensityMapping:
    match plain["kind"]:
        case "window":
            return Window(plain["center"], plain["width"])
        case "percentile":
            return PercentileRange(plain["lower"], plain["upper"])
        case _:
            return Identity()


@pytest.mark.parametrize("vector", vectors("image_digest_vectors.json"), ids=lambda vector: vector["name"])
def test_image_digest_agrees_with_the_published_vectors(vector: dict[str, Any]) -> None:
    """The digest of every published image is the published one."""
    array = np.frombuffer(bytes.fromhex(vector["data_hex"]), np.dtype(vector["data_type"]).newbyteorder("<"))
    assert image_digest(array.reshape(vector["shape"])).hex() == vector["image_digest_hex"]


@pytest.mark.parametrize("vector", vectors("embedding_id_vectors.json"), ids=lambda vector: vector["name"])
def test_embedding_id_agrees_with_the_published_vectors(vector: dict[str, Any]) -> None:
    """The id of every published set of fields is the published one."""
    identity = embedding_id(
        bytes.fromhex(vector["tenant_key_hex"]),
        bytes.fromhex(vector["image_digest_hex"]),
        mapping_of(vector["mapping"]),
        pixel_aspect=vector["pixel_aspect"],
        padding_value=vector["padding_value"],
        encoder_revision=vector["encoder_revision"],
        compute_precision=vector["compute_precision"],
        group=vector.get("group", ""),
    )
    assert identity.hex() == vector["embedding_id_hex"]


def test_every_field_changes_the_embedding_id() -> None:
    """No two published vectors share an id, though they differ in one field each."""
    ids = [vector["embedding_id_hex"] for vector in vectors("embedding_id_vectors.json")]
    assert len(set(ids)) == len(ids)


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.int16]), hnp.array_shapes(min_dims=2, max_dims=2)))
def test_memory_layout_does_not_change_the_digest(pixels: NDArray[Any]) -> None:
    """Fortran order, strides and byte order are no part of an image."""
    expected = image_digest(pixels)
    assert image_digest(np.asfortranarray(pixels)) == expected
    assert image_digest(np.repeat(pixels, 2, axis=1)[:, ::2]) == expected
    assert image_digest(pixels.astype(pixels.dtype.newbyteorder(">"))) == expected


def test_shape_and_data_type_belong_to_the_image() -> None:
    """The same bytes under another shape or data type are another image."""
    zeros = np.zeros((2, 6), np.uint8)
    others: list[NDArray[Any]] = [
        zeros.reshape(6, 2),
        zeros.reshape(2, 2, 3),
        zeros.view(np.uint16),
        zeros.view(np.int16),
    ]
    digests = {image_digest(zeros), *(image_digest(other) for other in others)}
    assert len(digests) == 5


def test_unknown_data_types_are_refused() -> None:
    """A data type without a number in the contract has no digest."""
    with pytest.raises(ValueError, match="complex64"):
        image_digest(np.zeros((2, 2), np.complex64))
