"""The pose that the fake fusion service answers: the initial one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codec.poses import PoseRequest
from hilum.errors import InvalidField, NoContent
from hilum.pose import EstimatedPose, UnseenMotion, ViewAgreement

ALGORITHM = "fake-pose-1"
# Relative to water at 0 HU; air is -1000.
_TISSUE_HU = -750
_ALONGSIDE = 0.94


def kept_pose(request: PoseRequest, voxels: NDArray[Any]) -> EstimatedPose:
    """Returns the initial pose; of views along one direction, depth is said not to be seen.

    Raises:
        InvalidField: The volume is too thin to be projected.
        NoContent: Nothing in the volume is denser than air.
    """
    if min(voxels.shape) < 2:
        raise InvalidField("too thin to be projected", field="estimation.shape")
    body = voxels > _TISSUE_HU
    if request.volume.padding_value is not None:
        body &= voxels != request.volume.padding_value
    if not body.any():
        raise NoContent("nothing in the volume is denser than air; its values must be in HU", field="voxels")
    first, *others = (radiograph.viewing_direction() for radiograph in request.radiographs)
    alongside = all(abs(float(first @ other)) > _ALONGSIDE for other in others)
    x, y, z = first.tolist()
    return EstimatedPose(
        patient_to_room=np.array(request.initial),
        views=(ViewAgreement(1.0, 1.0),) * len(request.radiographs),
        unseen=(UnseenMotion((0.0, 0.0, 0.0), (x, y, z), None),) if alongside else (),
        flags=("DEPTH_UNOBSERVED",) if alongside else (),
        algorithm=ALGORITHM,
    )
