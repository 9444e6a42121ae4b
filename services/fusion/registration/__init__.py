"""Registration of planar images of different modalities without markers."""

from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.delivery import DeliveredField
from services.fusion.registration.registration import ALGORITHM, Registration, RegistrationOutcome
from services.fusion.registration.search import SearchGrid

__all__ = [
    "ALGORITHM",
    "DeliveredField",
    "Registration",
    "RegistrationImage",
    "RegistrationOutcome",
    "SearchGrid",
]
