"""GenerateMasks against segment-anything's own SamAutomaticMaskGenerator.

Its decisions - grids, thresholds, cut masks, duplicates, crops, small regions - are compared on a model whose masks are
drawn: discs around the point, with islands, of many sizes and scores, so that every rule has something to decide. Its
numbers are compared on a random SAM, from pixels to masks through the services. Points are given to segment-anything
such that both mean the same place (docs/adr/0002-pixel-centres-are-mapped-exactly.md).
"""

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum import Client, GenerationParameters, Image
from hilum.generation import crop_regions, grid_side, non_duplicates
from hilum.region import Region
from hilum.serving.overload import ComputePool, Permits
from modeling.bundle_writer import write_bundle
from modeling.segment_anything_modules import Sam
from services.decoder.automatic import MaskGeneration, SearchedCrop
from services.decoder.candidates import Candidate
from services.decoder.decoding import DecodeTimings
from services.decoder.embeddings import DecoderModel, HotImage
from services.decoder.mask_decoder import LowResMasks, PreparedImage
from services.encoder.preprocess import input_size
from tests.congruence.official import generate_crop_boxes, mask_generator, nms
from tests.congruence.oracle import RANDOM_SAM_SPEC, random_sam
from tests.congruence.test_predictor import photograph
from tests.contract.wiring import in_thread, real_services
from tests.unit.decoder.wiring import bundle

SIDE, LOW_RES = 64, 16
# Pixels of a mask that may differ: both upscale the same logits in single precision, in another order.
DRAWN_TOLERANCE_PX = 0
# The random SAM's embeddings travel in half precision: pixels whose logits lie at the threshold, of 65,536.
SAM_TOLERANCE_PX = 8
SCORE_TOLERANCE = 0.0001


class DrawnEncoder(nn.Module):
    """In the place of the image encoder: the mean of each 4 x 4 pixels of the first channel."""

    img_size = SIDE

    def forward(self, image: Tensor) -> Tensor:
        """Returns (1, 1, 16, 16) of an image (1, 3, 64, 64)."""
        return nn.functional.avg_pool2d(image[:, :1], SIDE // LOW_RES)


class DrawnPrompts(nn.Module):
    """In the place of the prompt encoder: hands the points on, with its half pixel."""

    def forward(self, points: Any, boxes: Any, masks: Any) -> tuple[Tensor, Tensor]:
        """Returns the points (n, 1, 2)."""
        assert boxes is None
        assert masks is None
        coords, labels = points
        assert (labels == 1).all()
        return coords.float() + 0.5, torch.zeros(1)

    def get_dense_pe(self) -> Tensor:
        """Returns nothing of use."""
        return torch.zeros(1)


class DrawnMasks(nn.Module):
    """In the place of the mask decoder: discs, and bright islands, around each point."""

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Returns masks 1 to 3 (n, 3, 16, 16) and their scores (n, 3)."""
        del image_pe, dense_prompt_embeddings
        assert multimask_output
        masks, scores = drawn(image_embeddings[0, 0], sparse_prompt_embeddings[:, 0])
        return masks[:, 1:], scores[:, 1:]


def drawn(image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Returns four masks (n, 4, 16, 16) and scores (n, 4) for points (n, 2) on the canvas, in corner coordinates.

    How large a disc is, how steep its edge, and how good its score, depends on the place and on the image there.
    """
    centres = (torch.arange(LOW_RES) + 0.5) * SIDE / LOW_RES
    distance = torch.hypot(
        centres[None, None, :] - points[:, 0, None, None], centres[None, :, None] - points[:, 1, None, None]
    )
    rows, columns = (points / (SIDE / LOW_RES)).long().clamp(0, LOW_RES - 1).unbind(1)[::-1]
    here = image[rows, columns]
    kinds = torch.arange(4)
    radius = 3 + 2 * kinds[None] + 4 * here[:, None]
    steepness = 0.4 + 0.5 * here[:, None] + 0.1 * kinds[None]
    masks = (radius[..., None, None] - distance[:, None]) * steepness[..., None, None]
    # The last mask also has islands where the image is bright.
    islands = torch.where(image > 0.9, 2.0, -30.0)
    masks[:, 3] = torch.where(distance > radius[:, 3, None, None] + 6, torch.maximum(masks[:, 3], islands), masks[:, 3])
    scores = 0.6 + 0.35 * torch.sin(points.sum(1)[:, None] * 0.37 + kinds[None]) ** 2
    return masks, scores


class DrawnDecoder:
    """In the place of our graphs: the same drawing."""

    def decode(self, prepared: PreparedImage, coords: Any, labels: Any, mask_input: Any = None) -> LowResMasks:
        """Draws."""
        del labels, mask_input
        image = torch.from_numpy(prepared.tensors["image"])
        masks, scores = drawn(image, torch.from_numpy(coords[:, 0]) + 0.5)
        return LowResMasks(masks.numpy(), scores.numpy())


def drawn_sam() -> Sam:
    """Returns segment-anything's Sam around the drawing."""
    modules: Any = (DrawnEncoder(), DrawnPrompts(), DrawnMasks())
    return Sam(*modules, pixel_mean=[0, 0, 0], pixel_std=[255, 255, 255]).eval()


def hot_crop(sam: Sam, pixels: NDArray[np.uint8], region: Region, layer: int) -> SearchedCrop:
    """Returns a crop as our decoder searches it, encoded as SamPredictor encodes it."""
    cut = pixels[region.y : region.y + region.height, region.x : region.x + region.width]
    official = mask_generator(sam).predictor
    official.set_image(cut)
    prepared = PreparedImage(MappingProxyType({"image": official.features[0, 0].numpy()}))
    decoder: Any = DrawnDecoder()
    model = DecoderModel(bundle(image_size=SIDE, low_res_mask_size=LOW_RES), decoder)
    hot = HotImage(model, prepared, cut.shape[:2], official.input_size)
    return SearchedCrop(hot, region, layer)


def official_grids(size: tuple[int, int], parameters: GenerationParameters, side: int) -> list[NDArray[np.float64]]:
    """Returns segment-anything's point_grids, by layer, moved to where our points lie: half a canvas pixel.

    All crops of a layer must have one size on the canvas.
    """
    regions = {0: Region(0, 0, size[1], size[0])}
    for region, layer in crop_regions(size, parameters.crop_n_layers, parameters.crop_overlap_ratio):
        regions.setdefault(layer, region)
    grids = []
    for layer, region in regions.items():
        count = grid_side(parameters.points_per_side, parameters.crop_n_points_downscale_factor, layer)
        steps = (np.arange(count) + 0.5) / count
        height, width = input_size((region.height, region.width), 1.0, side)
        x, y = np.meshgrid(steps - 0.5 / width, steps - 0.5 / height)
        grids.append(np.stack([x.ravel(), y.ravel()], axis=1))
    return grids


def official_masks(
    sam: nn.Module, pixels: NDArray[np.uint8], parameters: GenerationParameters, side: int
) -> list[dict[str, Any]]:
    """Returns what segment-anything finds, but for empty masks, which we never return."""
    names = [name for name in GenerationParameters.__dataclass_fields__ if name != "points_per_side"]
    chosen = {name: getattr(parameters, name) for name in names}
    grids = official_grids((pixels.shape[0], pixels.shape[1]), parameters, side)
    found = mask_generator(sam, points_per_side=None, point_grids=grids, **chosen).generate(pixels)
    return [mask for mask in found if mask["area"]]


CASES = {
    "nothing dropped": GenerationParameters(6, 5, 0, 0, box_nms_thresh=1),
    "duplicates": GenerationParameters(12, 64, 0, 0),
    "thresholds": GenerationParameters(12, 64, 0.8, 0.7),
    "offset": GenerationParameters(12, 64, 0.6, 0.3, stability_score_offset=1.5),
    "small regions": GenerationParameters(10, 64, 0.5, 0.3, min_mask_region_area=60),
    "one layer of crops": GenerationParameters(10, 64, 0.7, 0.3, crop_n_layers=1, crop_n_points_downscale_factor=2),
    "two layers": GenerationParameters(8, 64, 0.7, 0.3, 1.0, 0.5, 2, 0.4, 0.25, 2, min_mask_region_area=40),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_decision(name: str) -> None:
    """The same masks are found, in the same order, at the same points and crops, with the same scores."""
    parameters, size, sam = CASES[name], (256, 256), drawn_sam()
    pixels = photograph(size)
    regions = crop_regions(size, parameters.crop_n_layers, parameters.crop_overlap_ratio)
    crops = [hot_crop(sam, pixels, region, layer) for region, layer in [(Region(0, 0, 256, 256), 0), *regions]]
    pool = ComputePool(1, 4)
    core = MaskGeneration(permits=Permits(1, 0), pool=pool)
    async with aclosing(core.generate(crops, parameters, DecodeTimings())) as events:
        *_, found = [event async for event in events]
    await pool.close()
    assert isinstance(found, list)
    theirs = official_masks(sam, pixels, parameters, SIDE)
    assert len(theirs) > 10
    assert len(found) == len(theirs)
    for ours, official in zip(found, theirs, strict=True):
        _assert_same(ours, official)


def _assert_same(ours: Candidate, official: dict[str, Any]) -> None:
    left, top, right, bottom = ours.bounds
    mask = np.zeros(official["segmentation"].shape, np.bool_)
    mask[top : bottom + 1, left : right + 1] = ours.mask()
    assert np.count_nonzero(mask != official["segmentation"]) <= DRAWN_TOLERANCE_PX
    assert [left, top, right - left, bottom - top] == official["bbox"]
    crop = ours.crop
    assert [crop.x, crop.y, crop.width, crop.height] == official["crop_box"]
    assert ours.area == official["area"]
    assert ours.iou_prediction == pytest.approx(official["predicted_iou"], abs=1e-6)
    assert ours.stability_score == pytest.approx(official["stability_score"], abs=1e-6)
    # Half a canvas pixel apart: the two maps of points.
    height, width = input_size((crop.height, crop.width), 1.0, SIDE)
    moved = np.array([crop.width / width, crop.height / height]) / 2 - 0.5
    assert list(ours.point) == pytest.approx((np.array(official["point_coords"][0]) + moved).tolist(), abs=1e-6)


@pytest.mark.parametrize("size", [(256, 256), (300, 200), (37, 401), (1000, 999)])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("overlap", [0, 0.25, 512 / 1500])
def test_crops(size: tuple[int, int], layers: int, overlap: float) -> None:
    """Crops and their layers are those of segment-anything's generate_crop_boxes, in its order."""
    boxes, indices = generate_crop_boxes(size, layers, overlap)
    ours = crop_regions(size, layers, overlap)
    assert [[r.x, r.y, r.x + r.width, r.y + r.height] for r, _ in ours] == boxes[1:]
    assert [layer for _, layer in ours] == indices[1:]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_non_maximum_suppression(threshold: float) -> None:
    """The boxes that are kept, and their order, are torchvision's, equal scores and boxes without area included."""
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 40, (150, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 25, (150, 2))], axis=1)
    scores = rng.integers(0, 12, 150) / 12
    expected = nms(torch.from_numpy(boxes).float(), torch.from_numpy(scores).float(), threshold)
    assert non_duplicates([tuple(box) for box in boxes.tolist()], scores, threshold) == expected.tolist()


@pytest.fixture(scope="module")
def random_model() -> nn.Module:
    """A small random SAM whose masks are not all alike."""
    return random_sam(2)


@pytest.fixture(scope="module")
def client(random_model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of the services, which serve the random SAM."""
    folder: Path = tmp_path_factory.mktemp("bundles") / RANDOM_SAM_SPEC.name
    written = write_bundle(random_model, RANDOM_SAM_SPEC, folder).bundle
    with in_thread(real_services([written])) as endpoints, Client(endpoints, tenant="automatic") as client:
        yield client


@pytest.mark.parametrize("layers", [0, 1])
def test_from_pixels_to_masks(random_model: nn.Module, client: Client, layers: int) -> None:
    """Through SDK, encoder and decoder the masks of a random SAM are those of segment-anything, crops included."""
    pixels = photograph((256, 256))
    parameters = GenerationParameters(4, 16, 0, 0, box_nms_thresh=0.9, crop_n_layers=layers)
    ours = client.generate_masks(Image(pixels), parameters=parameters)
    theirs = official_masks(random_model, pixels, parameters, 256)
    assert len(ours.masks) == len(theirs) > 0
    for found, official in zip(ours.masks, theirs, strict=True):
        assert np.count_nonzero(found.mask != official["segmentation"]) <= SAM_TOLERANCE_PX
        assert found.model_score == pytest.approx(official["predicted_iou"], abs=SCORE_TOLERANCE)
