"""ITK's affine transforms, held against SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.itk_matrix import itk_matrix
from hilum.warp import affine
from tests.unit.drawn_transforms import UNHURRIED
from tests.unit.simpleitk import points_moved, sitk


def _euler_zyx() -> Any:
    made = sitk.Euler3DTransform()
    made.SetComputeZYX(True)
    return made


MADE: dict[str, tuple[str, Callable[[], Any]]] = {
    "affine 2-D": ("AffineTransform", lambda: sitk.AffineTransform(2)),
    "affine 3-D": ("AffineTransform", lambda: sitk.AffineTransform(3)),
    "translation 2-D": ("TranslationTransform", lambda: sitk.TranslationTransform(2)),
    "translation 3-D": ("TranslationTransform", lambda: sitk.TranslationTransform(3)),
    "identity": ("IdentityTransform", lambda: sitk.Transform(3, sitk.sitkIdentity)),
    "Euler 2-D": ("Euler2DTransform", sitk.Euler2DTransform),
    "similarity 2-D": ("Similarity2DTransform", sitk.Similarity2DTransform),
    "Euler 3-D": ("Euler3DTransform", sitk.Euler3DTransform),
    "Euler 3-D, ZYX": ("Euler3DTransform", _euler_zyx),
    "versor": ("VersorRigid3DTransform", sitk.VersorRigid3DTransform),
    "similarity 3-D": ("Similarity3DTransform", sitk.Similarity3DTransform),
}


@pytest.mark.parametrize("kind", MADE)
@UNHURRIED
@given(seed=st.integers(0, 2**32 - 1))
def test_points_go_where_simpleitk_takes_them(kind: str, seed: int) -> None:
    """The matrix made of a transform's parameters takes points where SimpleITK does."""
    generator = np.random.default_rng(seed)
    name, make = MADE[kind]
    made = make()
    dimension = made.GetDimension()
    parameters = generator.uniform(-0.5, 0.5, len(made.GetParameters()))
    if name.startswith("Similarity"):
        parameters[0 if dimension == 2 else 6] = generator.uniform(0.5, 2.0)  # scale
    made.SetParameters(parameters.tolist())
    if "Identity" not in name and "Translation" not in name:
        fixed = list(made.GetFixedParameters())
        fixed[:dimension] = generator.uniform(-50, 50, dimension).tolist()
        made.SetFixedParameters(fixed)
    found = itk_matrix(name, dimension, np.array(made.GetParameters()), np.array(made.GetFixedParameters()))
    assert found is not None
    points = generator.uniform(-100, 100, (5, dimension))
    np.testing.assert_allclose(affine(found, points), points_moved(made, points), atol=1e-6)


def test_other_classes_are_not_known() -> None:
    """A class that is no affine transform, or not in this dimension, has no matrix."""
    assert itk_matrix("BSplineTransform", 3, np.zeros(10), np.zeros(12)) is None
    assert itk_matrix("Euler3DTransform", 2, np.zeros(6), np.zeros(3)) is None


def test_parameters_are_counted() -> None:
    """Too few parameters, or too few numbers for a centre, are refused."""
    with pytest.raises(ValueError, match="5 parameters"):
        itk_matrix("AffineTransform", 2, np.zeros(5), np.zeros(2))
    with pytest.raises(ValueError, match="1 fixed"):
        itk_matrix("AffineTransform", 2, np.ones(6), np.zeros(1))
