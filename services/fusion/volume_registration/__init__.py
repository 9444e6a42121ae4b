"""Registration of volumes of different modalities without markers."""

from services.fusion.volume_registration.canvas import RegistrationVolume
from services.fusion.volume_registration.delivery import DeliveredField
from services.fusion.volume_registration.registration import ALGORITHM, VolumeOutcome, VolumeRegistration
from services.fusion.volume_registration.search import SearchGrid

__all__ = [
    "ALGORITHM",
    "DeliveredField",
    "RegistrationVolume",
    "SearchGrid",
    "VolumeOutcome",
    "VolumeRegistration",
]
