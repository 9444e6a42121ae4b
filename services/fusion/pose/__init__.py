"""The rigid pose of a CT volume from radiographs with a known projection geometry."""

from services.fusion.pose.estimation import ALGORITHM, PoseEstimation
from services.fusion.pose.search import StartGrid

__all__ = ["ALGORITHM", "PoseEstimation", "StartGrid"]
