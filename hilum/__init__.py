"""Hilum: promptable segmentation and multimodal fusion of medical images, as gRPC services.

This package is what a client installs. Importing it loads numpy, grpcio and protobuf, nothing else; reading images and
writing results needs the extra `hilum[images]`, the command line `hilum[cli]`.
"""

from hilum.blocking_client import Client
from hilum.client import AsyncClient
from hilum.connection import Endpoints
from hilum.fusion_style import AlphaBlend, BaseRule, Checkerboard, ColourOverlay, Flicker, PyramidFusion
from hilum.generation import GenerationParameters
from hilum.geometry import ImageGeometry
from hilum.pose import ConeBeam, EstimatedPose, ParallelBeam, Radiograph
from hilum.region import Region, choose_region
from hilum.registration_options import LandmarkPair, RegistrationOptions, SimilarityMeasure, TransformModel
from hilum.tls import Tls
from hilum.transform import Transform
from hilum.types import (
    CT_BONE,
    CT_BRAIN,
    CT_LIVER,
    CT_LUNG,
    CT_SOFT_TISSUE,
    CT_STONE,
    Box,
    Identity,
    Image,
    PercentileRange,
    Placement,
    Point,
    ProjectionAxis,
    ProjectionMethod,
    Prompt,
    TargetPair,
    ViewRelation,
    Volume,
    Window,
)
from hilum.volume_registration import VolumeRegistrationOptions, VolumeRegistrationResult

__version__ = "0.1.0"

__all__ = [
    "CT_BONE",
    "CT_BRAIN",
    "CT_LIVER",
    "CT_LUNG",
    "CT_SOFT_TISSUE",
    "CT_STONE",
    "AlphaBlend",
    "AsyncClient",
    "BaseRule",
    "Box",
    "Checkerboard",
    "Client",
    "ColourOverlay",
    "ConeBeam",
    "Endpoints",
    "EstimatedPose",
    "Flicker",
    "GenerationParameters",
    "Identity",
    "Image",
    "ImageGeometry",
    "LandmarkPair",
    "ParallelBeam",
    "PercentileRange",
    "Placement",
    "Point",
    "ProjectionAxis",
    "ProjectionMethod",
    "Prompt",
    "PyramidFusion",
    "Radiograph",
    "Region",
    "RegistrationOptions",
    "SimilarityMeasure",
    "TargetPair",
    "Tls",
    "Transform",
    "TransformModel",
    "ViewRelation",
    "Volume",
    "VolumeRegistrationOptions",
    "VolumeRegistrationResult",
    "Window",
    "choose_region",
]
