"""The values that callers hand over and get back: images, intensity mappings, prompts, masks.

All are frozen. Coordinates are full-image pixels (x, y), pixel centres at integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.geometry import ImageGeometry

if TYPE_CHECKING:
    from hilum.region import Region
    from hilum.transform import Transform

BoolMask: TypeAlias = NDArray[np.bool_]
Pixels: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Window:
    """Window centre and width in the image's own units (HU for CT); DICOM's LINEAR_EXACT function."""

    center: float
    width: float


@dataclass(frozen=True)
class PercentileRange:
    """Stretch between two percentiles of what is encoded, padding excluded."""

    lower: float = 0.5
    upper: float = 99.5


@dataclass(frozen=True)
class Identity:
    """Grey levels as they are; the pixels must be uint8."""


IntensityMapping: TypeAlias = Window | PercentileRange | Identity

# Customary CT windows in HU (centre, width).
CT_SOFT_TISSUE = Window(40, 400)
CT_LIVER = Window(60, 160)
CT_LUNG = Window(-600, 1500)
CT_BONE = Window(400, 1800)
CT_STONE = Window(300, 1500)
CT_BRAIN = Window(40, 80)


@dataclass(frozen=True)
class ImageSource:
    """What an image came from, carried into results. No patient data.

    Attributes:
        sop_instance_uid: DICOM (0008,0018); empty for other files.
        frame_number: DICOM frame number, from 1; None for single-frame images and other files.
        modality: DICOM (0008,0060), such as "CT"; empty when unknown.
        laterality: DICOM Image Laterality or Laterality, "L", "R", "B" or "U"; empty when unknown.
        simulated: True for images computed from a model, never acquired; pictures say so.
    """

    sop_instance_uid: str = ""
    frame_number: int | None = None
    modality: str = ""
    laterality: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Image:
    """One 2-D image, after modality rescale and MONOCHROME1 inversion, before intensity mapping.

    Attributes:
        pixels: (height, width) or (height, width, 3); uint8, uint16, int16 or float32.
        geometry: Where the pixels lie.
        padding_value: Value of pixels that are no image, after rescale; None when there are none.
        window: The image's own recommended window, if its file carries one.
        source: What it came from.
        group: The caller's opaque name for what it belongs to, such as a study; the services delete by it. At most 128
            bytes, never a patient's name.
    """

    pixels: Pixels
    geometry: ImageGeometry = ImageGeometry()
    padding_value: float | None = None
    window: Window | None = None
    source: ImageSource = ImageSource()
    group: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    @property
    def default_mapping(self) -> IntensityMapping:
        """The file's own window, else grey levels as they are for uint8, else a percentile stretch."""
        if self.window is not None:
            return self.window
        return Identity() if self.pixels.dtype == np.uint8 else PercentileRange()


@dataclass(frozen=True)
class Volume:
    """A 3-D image: voxels (depth, height, width) in one PATIENT_LPS frame, or pixels only.

    Attributes:
        voxels: (depth, height, width); uint8, uint16, int16 or float32, after rescale.
        geometry: Frame of the volume; spacing (x, y, slice).
        padding_value: As Image.
        source: What it came from; frame_number is None.
    """

    voxels: Pixels
    geometry: ImageGeometry = ImageGeometry()
    padding_value: float | None = None
    source: ImageSource = ImageSource()


@dataclass(frozen=True)
class Point:
    """A labelled point; `foreground` False means outside the target."""

    x: float
    y: float
    foreground: bool = True


@dataclass(frozen=True)
class Box:
    """Continuous edges; a box around the pixel (x, y) is (x - .5, y - .5, x + .5, y + .5)."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True)
class Prompt:
    """Points, a box, a previous mask's logits (256, 256), or combinations; at least one of them."""

    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask_input: NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PredictedMask:
    """One mask of one prompt.

    Attributes:
        mask: (height, width) of the full image; the refined mask where refinement acted.
        model_mask: The model's own mask, the same array where nothing was refined.
        model_score: The model's estimate of its IoU (`iou_prediction`), not calibrated.
        stability_score: IoU of the masks at logits +1 and -1.
        area_px: Foreground pixels of the model's mask.
        bounding_box: Tight box of the model's mask, None when it is empty.
        empty_reason: Why the mask is empty, else "".
        refinement: What refinement did, else "".
        low_res_mask: Logits (256, 256) float32, where asked for.
        expected_iou: IoU in [0, 1] that the model's masks of this score had on average on held-back images of the
            image's modality; None where that was not measured, as in regions: then people see a model score, no IoU.
        abstain: Whether the service would rather not answer, which people must see; None where expected_iou is.
    """

    mask: BoolMask
    model_mask: BoolMask
    model_score: float
    stability_score: float
    area_px: int
    bounding_box: Box | None = None
    empty_reason: str = ""
    refinement: str = ""
    low_res_mask: NDArray[np.float32] | None = field(default=None, repr=False)
    expected_iou: float | None = None
    abstain: bool | None = None


@dataclass(frozen=True)
class Prediction:
    """Masks for the prompts of one image.

    Attributes:
        masks: One tuple per prompt, in the order asked: one mask, or three with multimask_output, in the model's order
            (whole, part, subpart); `best` takes the one to show.
        model: Name of the model.
        encoder_revision: Of the encoder, hex.
        decoder_revision: Of the decoder, hex.
        embedding_origins: Where the decoder found the embedding, call by call: memory, cache, encoder or inline.
        timings_ms: The server's own account of its time.
        source: What the image came from.
        regions: What of the image was encoded for the masks, one per prompt; None for the whole image.
    """

    masks: tuple[tuple[PredictedMask, ...], ...]
    model: str
    encoder_revision: str
    decoder_revision: str
    embedding_origins: tuple[str, ...]
    timings_ms: dict[str, float]
    source: ImageSource = ImageSource()
    regions: tuple[Region | None, ...] = ()

    def best(self, prompt: int = 0) -> PredictedMask:
        """Returns a prompt's mask with the highest model score, the first of equals: the model's first choice.

        Args:
            prompt: Index of the prompt, in the order asked.
        """
        return first_choice(self.masks[prompt])


def first_choice(masks: Sequence[PredictedMask]) -> PredictedMask:
    """Returns the mask with the highest model score, the first of equals."""
    return max(masks, key=lambda mask: mask.model_score)


@dataclass(frozen=True)
class Placement:
    """Where an encoded crop lies in the full image: integer offset, and the full (height, width)."""

    offset_x_px: int
    offset_y_px: int
    full_size: tuple[int, int]


@dataclass(frozen=True)
class EncodedImage:
    """An image that the encoder knows.

    Attributes:
        embedding_id: 32 bytes.
        cache_hit: True when no encoder ran.
        model: Name of the model.
        encoder_revision: Of the encoder, hex.
        timings_ms: The server's own account of its time.
    """

    embedding_id: bytes
    cache_hit: bool
    model: str
    encoder_revision: str
    timings_ms: dict[str, float]


class ViewRelation(Enum):
    """How two images see the body; see the contract."""

    COMPARABLE = 1
    SLAB_AND_PROJECTION = 2


class ProjectionMethod(Enum):
    """How rays become pixels; see the contract."""

    MEAN = 1
    ATTENUATION = 2
    MAXIMUM = 3


class ProjectionAxis(Enum):
    """Axis of (depth, height, width) along which rays run."""

    DEPTH = 1
    HEIGHT = 2
    WIDTH = 3


@dataclass(frozen=True)
class TargetPair:
    """A target seen in two images, each as a mask of that image or as a prompt."""

    in_fixed: BoolMask | Prompt
    in_moving: BoolMask | Prompt


@dataclass(frozen=True)
class StageReport:
    """What a registration stage did; agreement is comparable within a stage."""

    stage: str
    accepted: bool
    similarity_before: float
    similarity_after: float


@dataclass(frozen=True)
class TargetReport:
    """Agreement of one target, as far as the moving image shows it, and the outlines that were used."""

    dice_before: float
    dice_after: float
    mask_fixed: BoolMask
    mask_moving: BoolMask


@dataclass(frozen=True)
class DeformationReport:
    """How a deformable transform bends.

    Attributes:
        folding_fraction: Share of the displacement field's cells in which it folds.
        least_jacobian: Least Jacobian determinant of p + displacement_field(p).
        largest_jacobian: Largest.
        bending_energy: Mean of the squared second derivatives, in lengths of which the image's longer side has 2.
    """

    folding_fraction: float
    least_jacobian: float
    largest_jacobian: float
    bending_energy: float


@dataclass(frozen=True)
class Registration:
    """A transform and how far it can be trusted.

    Attributes:
        transform: Points of the fixed image to points of the moving image.
        match_loss_before: |Sobel(fixed) - Sobel(moving)| / N at the start.
        match_loss_after: The same at the end.
        overlap_fraction: Share of the fixed image's body that the moving image covers.
        stages: What each stage did.
        targets: Agreement per target.
        total_ms: Time in the service.
        inverse: Points of the moving image to points of the fixed image.
        inverse_residual_px: Largest distance in moving pixels by which a moving pixel that comes from within the fixed
            image is missed, there and back; 0 where affine.
        deformation: How it bends; None where affine.
        landmark_errors_px: Distances of the landmarks in moving pixels, after.
        distinctness: By how much the similarity falls when an image slips by a fortieth of its longer side.
    """

    transform: Transform
    match_loss_before: float
    match_loss_after: float
    overlap_fraction: float
    stages: tuple[StageReport, ...]
    targets: tuple[TargetReport, ...]
    total_ms: float
    inverse: Transform
    inverse_residual_px: float = 0.0
    deformation: DeformationReport | None = None
    landmark_errors_px: tuple[float, ...] = ()
    distinctness: float = 0.0


@dataclass(frozen=True)
class RegistrationProgress:
    """One step of a running registration; `fraction` of the work is done."""

    stage: str
    fraction: float
    similarity: float


@dataclass(frozen=True)
class TargetContrast:
    """How visible a target is: |mean inside - mean around| / standard deviation around it, 2 to 10 px outside.

    Attributes:
        fixed: In the fixed image.
        moving: In the moving image.
        fused: In the fused picture.
    """

    fixed: float
    moving: float
    fused: float


@dataclass(frozen=True)
class Fusion:
    """Two images as one, on the fixed grid.

    Attributes:
        fused: uint8 (height, width); of ColourOverlay (height, width, 3), RGB; of Flicker (2, height, width), the fixed
            and the moving frame.
        fixed: The fixed image's grey levels, uint8.
        moving: The moving image's grey levels on the fixed grid, uint8.
        coverage: Where the moving image has pixels.
        burned_flags: Flags drawn into `fused`.
        target_contrast: How visible the target is, where one was given.
    """

    fused: NDArray[np.uint8]
    fixed: NDArray[np.uint8]
    moving: NDArray[np.uint8]
    coverage: BoolMask
    burned_flags: tuple[str, ...]
    target_contrast: TargetContrast | None = None
