"""elastix: mutual information, affine, then a cubic B-spline held by its bending energy.

It has ended its process before (a segmentation fault), so that it must have a process of its own.
"""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.registrars.registrar import Grey, Places, Registrar, pixel_places
from services.fusion.registration import RegistrationImage


@dataclass(frozen=True)
class Elastix:
    """Settings of a grid that was tried.

    Attributes:
        spacing_px: of the finest control points.
        bending: weight of the bending energy beside mutual information.
        iterations: at each of four resolutions, of the affine and of the bent transform.
    """

    spacing_px: float = 16.0
    bending: float = 10.0
    iterations: int = 250

    def __call__(self) -> Registrar:
        """One thread."""
        itk: Any = importlib.import_module("itk")
        itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
        itk.ElastixRegistrationMethod  # noqa: B018 - itk loads its modules when a name of theirs is first asked for

        def register(fixed: RegistrationImage, moving: RegistrationImage) -> Places:
            return self._register(itk, fixed, moving)

        return register

    def _register(self, itk: Any, fixed: RegistrationImage, moving: RegistrationImage) -> Places:
        pair = Grey.of(fixed), Grey.of(moving)
        images = tuple(itk.image_from_array(grey.pixels) for grey in pair)
        masks = {
            name: itk.image_from_array(grey.mask)
            for name, grey in zip(("fixed_mask", "moving_mask"), pair, strict=True)
            if grey.mask is not None
        }
        parameters = itk.ParameterObject.New()
        affine = parameters.GetDefaultParameterMap("affine", 4)
        affine["AutomaticTransformInitialization"] = ["true"]
        affine["AutomaticTransformInitializationMethod"] = ["GeometricalCenter"]
        parameters.AddParameterMap(affine)
        bspline = parameters.GetDefaultParameterMap("bspline", 4, self.spacing_px)
        # Its default map already adds a bending energy to mutual information.
        bspline["Metric0Weight"], bspline["Metric1Weight"] = ["1.0"], [str(self.bending)]
        parameters.AddParameterMap(bspline)
        parameters.SetParameter("MaximumNumberOfIterations", str(self.iterations))
        _, found = itk.elastix_registration_method(
            *images, parameter_object=parameters, log_to_console=False, number_of_threads=1, **masks
        )
        # It writes the field to a file, too.
        with tempfile.TemporaryDirectory() as folder:
            field = itk.transformix_deformation_field(images[1], found, output_directory=folder)
            return np.asarray(pixel_places(fixed.size) + itk.array_from_image(field), np.float64)
