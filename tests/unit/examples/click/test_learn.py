"""examples.click.learn and pack: from packed images to what is shipped, on a few images and steps."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from examples.click.learn import drawn_anew, learn
from examples.click.pack import pack, unpacked
from examples.click.recipe import NAME, RECIPES
from hilum.serving.bundle import Bundle
from modeling.models import load_model
from modeling.recipe import Recipe
from modeling.shipped import read_shipped
from modeling.training_set import TrainingSet
from modeling.variation import on_canvas_size


@pytest.fixture
def images(tmp_path: Path) -> TrainingSet:
    """Two training images, one grey and one in colours, with two masks each, as they are prepared."""
    paths = []
    for number, shape in enumerate([(96, 128), (96, 128, 3)]):
        random = np.random.default_rng(number)
        picture = random.integers(0, 90, shape, dtype=np.uint8)
        masks = np.zeros((2, 256, 256), np.bool_)
        for place, mask in enumerate(masks):
            mask[40 + 60 * place : 80 + 60 * place, 60:120] = True
            inside = cv2.resize(mask[:192].astype(np.uint8), (128, 96), interpolation=cv2.INTER_NEAREST) > 0
            picture[inside] = 200
        paths.append(tmp_path / f"image-{number}.npz")
        np.savez(
            paths[-1],
            image=picture,
            embedding=np.zeros((1, 256, 64, 64), np.float16),
            masks=np.packbits(masks),
            side=256,
            labelled=np.array([True, False]),
            input_size=np.array([192, 256]),
            source=f"source-{number}",
        )
    return TrainingSet(paths)


@pytest.fixture
def packed(images: TrainingSet, lite_medsam_bundle: Bundle, tmp_path: Path) -> Path:
    """The images, packed with the base model."""
    path = tmp_path / "pack.zip"
    pack(images, lite_medsam_bundle, {"base": "lite-medsam", "training_images": 2}, path)
    return path


def test_what_is_unpacked_is_what_was_packed(
    images: TrainingSet, packed: Path, lite_medsam_bundle: Bundle, tmp_path: Path
) -> None:
    """Images come out at the size they are learnt at, masks as they went in, no embeddings; weights nearly."""
    given = unpacked(packed, tmp_path / "unpacked")
    assert len(given.images) == len(images)
    for number in range(len(images)):
        before, after = images[number], given.images[number]
        assert np.array_equal(on_canvas_size(before), after.image)
        assert np.array_equal(before.masks, after.masks)
        assert np.array_equal(before.labelled, after.labelled)
        assert (before.input_size, before.source) == (after.input_size, after.source)
        assert after.embedding.size == 0
    assert given.manifest == lite_medsam_bundle.manifest
    exact = load_model(lite_medsam_bundle).state_dict()
    for name, tensor in given.base.state_dict().items():
        assert (tensor - exact[name]).abs().max() <= 1e-3 * exact[name].abs().max()


def test_recipes_are_learnt_side_by_side_and_shipped_as_one(packed: Path, tmp_path: Path) -> None:
    """Two recipes of one step each end in low-rank additions and a decoder, with both recipes in the lineage."""
    recipes = [
        (shortened(it, steps=1), shortened(replace(scoring, head_steps=1), steps=0)) for it, scoring in drawn_anew(1)
    ]
    written = learn(packed, tmp_path / "out", tmp_path / "work", recipes, device="cpu", workers=0)
    shipped = read_shipped(NAME, tmp_path / "out")
    assert written[0].parent == tmp_path / "out"
    assert any(addition.abs().max() > 0 for addition in shipped.additions.values())
    lineage = json.loads(written[1].read_text())["lineage"]
    assert [it["seed"] for it in lineage["recipes"]] == [recipe.seed + 1 for recipe in RECIPES]
    assert lineage["training_images"] == 2


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe, so small that two cores learn it in seconds."""
    return replace(recipe, steps=steps, images=1, prompts=1, lora_rank=2, precision="float32")
