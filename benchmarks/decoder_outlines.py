"""What the decoder outlines in a known pair when it is asked by boxes, each edge of which misses by up to 5 px.

The model is the default bundle, in this process, through the evaluation's own predictor; the boxes are made from the
truth in each image, jittered apart. So they tell a registration something even where no image is looked at, and `moved`
says how much: the similarity between the boxes' corners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.deformable_pairs import KnownPair, RadiographedVolume
from benchmarks.registrars.registrar import Places, pixel_places
from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, CtVolume
from examples.demo.known_warp import mapped
from examples.demo.truth import LungProjection, jittered_box
from hilum.intensity import grey_levels
from hilum.types import BoolMask, Box, Image, Prompt
from modeling.evaluation.predictor import Predictor
from modeling.sample import Sample
from services.fusion.registration import RegistrationImage

# TotalSegmentator's numbers; whose outlines an antero-posterior view shows in either modality.
PELVIS = {"bladder": (21,), "left hip": (77,), "right hip": (78,)}
_PATH_MM = 20.0
# What the beam leaves of an organ, below which nobody would outline it.
_LEAST_AREA_PX = 200
_BOXES_AN_ORGAN = 2


def lungs(volume: RadiographedVolume) -> dict[str, BoolMask]:
    """Both lungs' fields in the projection, as a radiologist outlines them, on the grid of the pair."""
    sides = {"right lung": RIGHT_LUNG, "left lung": LEFT_LUNG}
    return {name: LungProjection.of(volume.volume, labels).field(volume.grid) for name, labels in sides.items()}


def pelvis(volume: RadiographedVolume) -> dict[str, BoolMask]:
    """Bladder and hips, where the ray meets more than 20 mm of them, on the grid of the pair."""
    return {name: volume.grid.resample(_path_mm(volume.volume, labels)) > _PATH_MM for name, labels in PELVIS.items()}


def _path_mm(volume: CtVolume, labels: tuple[int, ...]) -> NDArray[np.float64]:
    return volume.path_mm(labels)


@dataclass(frozen=True, eq=False)
class OutlinedPair:
    """A pair with the decoder's masks as targets, and the boxes that it was asked by, (fixed, moving) an organ."""

    pair: KnownPair
    boxes: tuple[tuple[Box, Box], ...]

    @property
    def moved(self) -> Places:
        """Where the boxes alone put each fixed pixel: the similarity that brings their corners closest together."""
        fixed, moving = (_corners([boxes[image] for boxes in self.boxes]) for image in (0, 1))
        matrix, _ = cv2.estimateAffinePartial2D(fixed, moving, method=cv2.LMEDS)
        return mapped(np.vstack([matrix, [0, 0, 1]]), pixel_places(self.pair.fixed.size))


def outlined(pair: KnownPair, organs: Mapping[str, BoolMask], decoder: Predictor, seed: int) -> OutlinedPair | None:
    """Ask for every organ that the X-ray shows; None where it shows none, or the decoder finds none in either image."""
    seen = {name: (mask, landed(mask, pair)) for name, mask in organs.items()}
    shown = [masks for masks in seen.values() if masks[1].sum() >= _LEAST_AREA_PX]
    if not shown:
        return None
    jitters = np.random.default_rng((seed, 5)).integers(0, 2**31, (len(shown), _BOXES_AN_ORGAN)).tolist()
    boxes = [
        (jittered_box(fixed, first), jittered_box(moving, second))
        for (fixed, moving), (first, second) in zip(shown, jitters, strict=True)
    ]
    found = [
        _masks(image, [both[index] for both in boxes], decoder) for index, image in enumerate((pair.fixed, pair.moving))
    ]
    kept = [place for place in range(len(boxes)) if found[0][place].any() and found[1][place].any()]
    if not kept:
        return None
    targets = [tuple(masks[place] for place in kept) for masks in found]
    fixed, moving = replace(pair.fixed, targets=targets[0]), replace(pair.moving, targets=targets[1])
    return OutlinedPair(replace(pair, fixed=fixed, moving=moving), tuple(boxes[place] for place in kept))


def landed(mask: BoolMask, pair: KnownPair) -> BoolMask:
    """Where the truth puts a mask of the fixed image in the moving one, as far as that is exposed."""
    there = np.zeros(pair.moving.size, np.uint8)
    columns, rows = np.rint(pair.truth[mask].T).astype(np.intp)
    inside = (columns >= 0) & (columns < there.shape[1]) & (rows >= 0) & (rows < there.shape[0])
    there[rows[inside], columns[inside]] = 1
    # Where the body is stretched, pixels of the moving image lie between those that land.
    closed = cv2.morphologyEx(there, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return np.asarray((closed > 0) & pair.moving.usable, np.bool_)


def _masks(image: RegistrationImage, boxes: Sequence[Box], decoder: Predictor) -> list[BoolMask]:
    pixels = image.pixels.astype(np.float32)
    black = np.float32(np.floor(pixels.min()) - 1)
    grey = grey_levels(Image(np.where(image.usable, pixels, black), padding_value=float(black)))
    decoder.set_image(Sample("known pair", grey, (), "benchmark", "DX", "benchmark", simulated=True))
    return list(decoder.predict([Prompt(box=box) for box in boxes]).masks[:, 0])


def _corners(boxes: Sequence[Box]) -> NDArray[np.float64]:
    return np.array([(x, y) for box in boxes for x in (box.x_min, box.x_max) for y in (box.y_min, box.y_max)])
