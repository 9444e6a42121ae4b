"""The rigid pose of a CT volume from radiographs with a known projection geometry."""

from services.fusion.pose.estimation import ALGORITHM, PoseEstimation
from services.fusion.pose.outcome import PoseOutcome, UnseenMotion
from services.fusion.pose.radiograph import ConeBeam, ParallelBeam, Radiograph
from services.fusion.pose.search import StartGrid

__all__ = [
    "ALGORITHM",
    "ConeBeam",
    "ParallelBeam",
    "PoseEstimation",
    "PoseOutcome",
    "Radiograph",
    "StartGrid",
    "UnseenMotion",
]
