"""SimpleITK's registration: Mattes mutual information, affine, then a cubic B-spline."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.registrars.registrar import Grey, Places, Registrar, pixel_places
from services.fusion.registration import RegistrationImage

# It ships no types.
sitk: Any = importlib.import_module("SimpleITK")

_BINS = 32
_SEED = 1


@dataclass(frozen=True)
class SimpleItk:
    """Settings of a grid that was tried.

    Attributes:
        mesh: B-spline intervals along each axis.
        iterations: of L-BFGS-B at each of three resolutions.
        share: of the pixels that mutual information is taken from.
    """

    mesh: int = 8
    iterations: int = 50
    share: float = 0.25

    def __call__(self) -> Registrar:
        """One thread."""
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        return self._register

    def _register(self, fixed: RegistrationImage, moving: RegistrationImage) -> Places:
        pair = Grey.of(fixed), Grey.of(moving)
        images = tuple(sitk.GetImageFromArray(grey.pixels) for grey in pair)
        affine = self._method(pair)
        affine.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, relaxationFactor=0.6)
        affine.SetOptimizerScalesFromPhysicalShift()
        start = sitk.CenteredTransformInitializer(
            *images, sitk.AffineTransform(2), sitk.CenteredTransformInitializerFilter.GEOMETRY
        )
        affine.SetInitialTransform(start, inPlace=False)
        motion = affine.Execute(*images)
        bending = self._method(pair)
        bending.SetOptimizerAsLBFGSB(1e-5, numberOfIterations=self.iterations)
        bending.SetMovingInitialTransform(motion)
        spline = sitk.BSplineTransformInitializer(images[0], [self.mesh] * 2, 3)
        bending.SetInitialTransform(spline, inPlace=False)
        bend = bending.Execute(*images)
        # The last transform of a composite acts first.
        whole = sitk.CompositeTransform([motion, bend])
        field = sitk.TransformToDisplacementField(
            whole, sitk.sitkVectorFloat64, images[0].GetSize(), outputSpacing=images[0].GetSpacing()
        )
        return np.asarray(pixel_places(fixed.size) + sitk.GetArrayFromImage(field), np.float64)

    def _method(self, pair: tuple[Grey, Grey]) -> Any:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(self.share, _SEED)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2.0, 1.0, 0.0])
        for grey, use in zip(pair, (method.SetMetricFixedMask, method.SetMetricMovingMask), strict=True):
            if grey.mask is not None:
                use(sitk.GetImageFromArray(grey.mask))
        return method
