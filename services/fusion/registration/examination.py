"""What is said about an alignment once it is found: figures, none of which drives it, and doubts."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.types import BoolMask, ViewRelation
from services.fusion.quality import body_mask, match_loss, overlap_fraction, target_dice
from services.fusion.registration.agreement import Agreement
from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.delivery import DeliveredField
from services.fusion.registration.plan import COARSEST, FINEST
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.workspace import Workspace

_MIN_OVERLAP = 0.5
_MIN_DICE = 0.5
# Pixels whose targets are looked at between two yields.
_PIXELS_A_STEP = 1 << 18
_HALF_ROTATION_STEP_DEG = 2.5
_HALF_SCALE_STEP = 0.04
# Tissue that is squeezed or stretched more than this, in area, or a bend of a quarter of the image.
_LEAST_JACOBIAN, _LARGEST_JACOBIAN = 0.2, 5.0
_LARGEST_DISPLACEMENT = 0.25
# Below these an alignment does not stand out. On development pairs of all types (docs/adr/0012) impossible ones reached
# an evidence of .035 after bending and .0044 without; of those that were registered, 6 of 141 and none of 23 stay below
# the limits. A slab that was registered right had a distinctness of .039 to .059, wrong at most .027; its rivals were
# not looked at.
_LEAST_EVIDENCE_BENT, _LEAST_EVIDENCE, _LEAST_DISTINCTNESS_OF_SLAB = 0.037, 0.008, 0.035
# Bending a rival took at most .46 of the evidence of 151 development pairs that were above the limit before. This many
# times the limit is out of its reach; no impossible pair had more than 1.1 times the limit.
_CLEAR = 2.0


@dataclass(frozen=True, eq=False)
class Fit:
    """How well the images fit under one alignment.

    Attributes:
        similarity: MIND-SSC and normalised gradient fields, in [0, 1], plus .3 times the mean Dice of targets and .3
            for landmarks that meet.
        image_similarity: the same of the images alone.
        mutual_information: in nats; a second opinion that drives nothing by default.
        match_loss: see `quality.match_loss`, on a canvas of 256 pixels across.
        overlap_fraction: share of the fixed image's body that the moving image covers.
        target_dice: per target, on the fixed grid, where the moving image shows anything; 0 where it shows none of it.
        landmark_error_px: distance per landmark, in moving pixels.
    """

    similarity: float
    image_similarity: float
    mutual_information: float
    match_loss: float
    overlap_fraction: float
    target_dice: tuple[float, ...]
    landmark_error_px: tuple[float, ...]


class Examination:
    """Takes the figures of alignments, on the finest canvas: what they cost and mean does not depend on image size.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        workspace: of the two.
        agreement: with targets, where they count.
    """

    def __init__(
        self, fixed: RegistrationImage, moving: RegistrationImage, workspace: Workspace, agreement: Agreement
    ) -> None:
        self._fixed, self._moving = fixed, moving
        self._workspace = workspace
        self._agreement = agreement
        self._pair = workspace.at(FINEST)
        self._usable = self._pair.fixed.valid.numpy() > 0.5
        self._body = body_mask(self._pair.fixed.pixels.numpy(), self._usable)

    def fit(self, alignment: Alignment) -> Generator[None, None, Fit]:
        """How well the images fit under an alignment; yields between steps."""
        dice = yield from self._target_dice(alignment)
        moving, grid = self._pair.moving, alignment.sampling_grid(FINEST)
        pixels = warp(moving.pixels[None], grid)[0].numpy()
        covered = warp(moving.valid[None], grid, padding="zeros")[0].numpy() > 0.5
        yield
        agreement, of_images = self._agreement.of(alignment), self._agreement.of_images(alignment)
        yield
        information = self._agreement.information(alignment)
        yield
        return Fit(
            agreement,
            of_images,
            information,
            match_loss(self._pair.fixed.pixels.numpy(), pixels, self._usable & covered),
            overlap_fraction(self._body, covered),
            dice,
            self._landmark_errors(alignment),
        )

    def _target_dice(self, alignment: Alignment) -> Generator[None, None, tuple[float, ...]]:
        """Of all pixels of the fixed image, some rows at a time."""
        pairs = tuple(zip(self._fixed.targets, self._moving.targets, strict=True))
        if not pairs:
            return ()
        height, width = self._fixed.size
        shown, covered = np.zeros((len(pairs), height, width), np.bool_), np.zeros((height, width), np.bool_)
        usable = self._moving.usable
        step = max(1, _PIXELS_A_STEP // width)
        for first in range(0, height, step):
            rows = torch.arange(first, min(first + step, height), dtype=torch.float64)
            places = self._workspace.moving_places_px(alignment, torch.arange(width, dtype=torch.float64), rows)
            # An organ that the beam or the picture's edge cuts has half an outline in one image: no disagreement.
            covered[first : first + step] = _nearest(usable, places)
            for index, (_, moving) in enumerate(pairs):
                shown[index, first : first + step] = _nearest(moving, places)
            yield
        return tuple(_dice_where(covered, fixed, seen) for (fixed, _), seen in zip(pairs, shown, strict=True))

    def _landmark_errors(self, alignment: Alignment) -> tuple[float, ...]:
        landmarks = self._pair.landmarks
        missing = (alignment.apply(landmarks.fixed) - landmarks.moving).numpy()
        scale = np.diag(self._workspace.working_from_moving)[:2]
        return tuple(float(error) for error in np.linalg.norm(missing / scale, axis=1))


def _dice_where(covered: BoolMask, fixed: BoolMask, moving: BoolMask) -> float:
    """Dice of two masks as far as both images show the place; 0 where they show neither mask."""
    fixed, moving = fixed & covered, moving & covered
    return target_dice(fixed, moving) if fixed.any() or moving.any() else 0.0


def _nearest(mask: NDArray[np.bool_], places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A mask at places (2, ...), (x, y) in its pixels, false outside."""
    columns, rows = np.rint(np.clip(places, -1.0, max(mask.shape))).astype(np.intp)
    inside = (columns >= 0) & (columns < mask.shape[1]) & (rows >= 0) & (rows < mask.shape[0])
    return np.asarray(mask[np.where(inside, rows, 0), np.where(inside, columns, 0)] & inside, np.bool_)


@dataclass(frozen=True)
class Standing:
    """How far an alignment stands out, in two ways that err differently.

    Attributes:
        distinctness: from its neighbours; see `Agreement.distinctness`.
        lead: over what cannot be right; see `rivals.Rival`.
        bent: whether the alignment has a displacement field; what is bent to fit stands out more, right or wrong.
    """

    distinctness: float
    lead: float
    bent: bool

    @property
    def evidence(self) -> float:
        """Their product: an alignment has to stand out in both ways."""
        return max(self.distinctness, 0.0) * self.lead

    @property
    def is_doubtful(self) -> bool:
        """Whether two comparable images may not show the same body."""
        return self.evidence < self._least_evidence

    @property
    def is_clear(self) -> bool:
        """Whether there is so much evidence that a closer look at the rivals would not make this doubtful."""
        return self.evidence >= _CLEAR * self._least_evidence

    @property
    def _least_evidence(self) -> float:
        return _LEAST_EVIDENCE_BENT if self.bent else _LEAST_EVIDENCE


def doubts(after: Fit, standing: Standing, views: ViewRelation) -> set[str]:
    """Names of hilum.v1.TransformFlag that the figures of a result raise."""
    raised = set()
    if after.overlap_fraction < _MIN_OVERLAP:
        raised.add("LOW_OVERLAP")
    comparable = views is ViewRelation.COMPARABLE
    if comparable and any(dice < _MIN_DICE for dice in after.target_dice):
        raised.add("MASKS_DISAGREE")
    if standing.is_doubtful if comparable else standing.distinctness < _LEAST_DISTINCTNESS_OF_SLAB:
        raised.add("NO_IMPROVEMENT")
    return raised


def field_doubts(field: DeliveredField | None, alignment: Alignment, workspace: Workspace) -> set[str]:
    """The same of its deformation."""
    if field is None or alignment.deformation is None:
        return set()
    raised = set()
    least, largest = field.jacobian_range
    if field.folding_fraction > 0:
        raised.add("FOLDING")
    displacement = float(
        (alignment.deformation.on_canvas(COARSEST).norm(dim=0) * workspace.at(COARSEST).fixed.valid).max()
    )
    if least < _LEAST_JACOBIAN or largest > _LARGEST_JACOBIAN or displacement > _LARGEST_DISPLACEMENT:
        raised.add("LARGE_DEFORMATION")
    return raised


def beyond(alignment: Alignment, grid: SearchGrid) -> bool:
    """Whether rotation, scale or shift leave what was searched, by more than half a step of it."""
    linear: NDArray[np.float64] = alignment.matrix[:2, :2].numpy()
    left, scales, right = np.linalg.svd(linear)
    rotation = left @ right
    angle = np.rad2deg(np.arctan2(rotation[1, 0], rotation[0, 0]))
    shift = alignment.matrix[:2, 2].abs().max()
    return bool(
        abs(angle) > max(grid.rotations_deg) + _HALF_ROTATION_STEP_DEG
        or scales.min() < min(grid.scales) - _HALF_SCALE_STEP
        or scales.max() > max(grid.scales) + _HALF_SCALE_STEP
        or shift > grid.max_shift
    )
