"""Tests of how well a transform fits what is known."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField
from hilum.geometry import ImageGeometry, PlaneFrame
from hilum.registration_options import LandmarkPair
from hilum.transform import Transform
from hilum.types import BoolMask
from services.fusion.evaluation import evaluate, folding_fraction, outline

SIZE = (40, 50)
IDENTITY = np.eye(3)


def block(top: int, left: int, height: int, width: int) -> BoolMask:
    mask = np.zeros(SIZE, np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


def test_two_blocks_apart() -> None:
    """Blocks 4 pixels apart along x, of 0.5 mm, and 2 along y, of 2 mm: figures are those of plain geometry."""
    geometry = ImageGeometry(PlaneFrame((0.5, 2.0)))
    transform = Transform.from_matrix(IDENTITY, SIZE, SIZE, moving_geometry=geometry)
    found = evaluate(transform, [(block(10, 10, 10, 12), block(12, 14, 10, 12))], [])
    (target,) = found.targets
    assert found.unit == "mm"
    assert found.landmarks is None
    assert target.dice == pytest.approx(2 * 8 * 8 / 240)
    assert target.centroid_error == pytest.approx(np.hypot(4 * 0.5, 2 * 2.0))
    # The corners are farthest from the other block.
    assert target.max_surface_distance == pytest.approx(np.hypot(2.0, 4.0))
    assert 0 < target.mean_surface_distance < target.max_surface_distance


def test_landmarks_in_pixels() -> None:
    """Errors are in the order given; mean, percentile and maximum are numpy's."""
    pairs = [LandmarkPair((5.0, 5.0), (5.0 + error, 5.0)) for error in (3.0, 1.0, 2.0)]
    found = evaluate(Transform.from_matrix(IDENTITY, SIZE, SIZE), [], pairs)
    assert found.landmarks is not None
    assert found.unit == "px"
    assert found.landmarks.errors == pytest.approx((3, 1, 2))
    assert (found.landmarks.mean, found.landmarks.p95, found.landmarks.max) == pytest.approx((2.0, 2.9, 3.0))
    assert found.inverse_residual == pytest.approx(0, abs=1e-9)


def test_folding_is_counted_cell_by_cell() -> None:
    """A field that takes one column past its neighbour folds in the cells between the two, and nowhere else."""
    values = np.zeros((2, 6, 11), np.float32)
    assert folding_fraction(DisplacementField(values)) == 0
    values[0, :, 4] = 1.5
    assert folding_fraction(DisplacementField(values)) == pytest.approx(1 / 10)
    mirrored = np.diag([-2.0, 3.0, 1.0])
    assert folding_fraction(DisplacementField(np.zeros((2, 6, 11), np.float32), mirrored)) == 0


def test_a_transform_that_folds_has_no_way_back() -> None:
    """Where the field folds a point may have no origin: then there is no residual, and the rest is measured."""
    values = np.zeros((2, *SIZE), np.float32)
    values[0] = -2.0 * np.arange(SIZE[1])
    values[0, :, ::2] += 30
    transform = Transform.from_matrix(IDENTITY, SIZE, SIZE, displacement_field=DisplacementField(values))
    pairs = [LandmarkPair((5.0, 5.0), (x + 0.3, 5.0)) for x in range(0, 50, 3)]
    found = evaluate(transform, [], pairs)
    assert found.folding_fraction > 0.4
    assert found.inverse_residual is None or found.inverse_residual < 1
    assert found.landmarks is not None


def test_volumes_are_refused() -> None:
    """A transform between volumes has no planar figures."""
    volumes = Transform.from_matrix(np.eye(4), (9, 9, 9), (9, 9, 9))
    with pytest.raises(InvalidField):
        evaluate(volumes, [], [LandmarkPair((5.0, 5.0), (5.0, 5.0))])


def test_an_outline_is_the_rim() -> None:
    """The pixels of a block that touch what is outside, or the edge."""
    assert len(outline(block(10, 10, 5, 6))) == 2 * 5 + 2 * 6 - 4
    assert len(outline(np.ones(SIZE, np.bool_))) == 2 * sum(SIZE) - 4
