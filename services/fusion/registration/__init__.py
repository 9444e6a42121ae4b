"""Registration of planar images of different modalities without markers."""

from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.delivery import DeliveredField
from services.fusion.registration.options import DrivingMeasure, LandmarkPair, RegistrationOptions, TransformModel
from services.fusion.registration.registration import ALGORITHM, Registration, RegistrationOutcome
from services.fusion.registration.search import SearchGrid

__all__ = [
    "ALGORITHM",
    "DeliveredField",
    "DrivingMeasure",
    "LandmarkPair",
    "Registration",
    "RegistrationImage",
    "RegistrationOptions",
    "RegistrationOutcome",
    "SearchGrid",
    "TransformModel",
]
