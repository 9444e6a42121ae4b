"""Slices of an average brain, as MR shows it and in contrasts made up from its tissues: for training, no labels.

The volume is the MNI ICBM152 2009a symmetric T1 template with its maps of grey and white matter (Fonov et al.,
"Unbiased average age-appropriate atlases for pediatric studies", 2011), as nilearn's wheel brings it. A slice in other
contrasts (Billot et al., "SynthSeg", 2023) gives every tissue a brightness by chance: what T2, FLAIR and proton density
do to one anatomy, roughly. Such pictures are simulated, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import nibabel
import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from examples.click.drawn import Field
from examples.click.wheel import unpack_from_wheel
from modeling.sample import Sample

NILEARN = "nilearn==0.14.1"
MAPS = {name: f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz" for name in ("t1", "gm", "wm")}
SOURCE = "mr-template"
# Along right-left, back-front, feet-head; the outermost show little brain.
SLICES_PER_AXIS = 8
FROM, TO = 0.25, 0.78
CONTRASTS = 2


def brain_template(cache: Path | None = None) -> Iterator[Sample]:
    """Yield every slice as it is and in other contrasts.

    Args:
        cache: folder for the template's three volumes, which pip brings once; in the user's cache where None.
    """
    folder = cache or user_cache_path("hilum") / "nilearn"
    if not all((folder / name).is_file() for name in MAPS.values()):
        unpack_from_wheel(NILEARN, "nilearn/datasets/data", MAPS.values(), folder)
    t1, grey, white = (_levels(folder / name) for name in MAPS.values())
    for axis in range(3):
        for place in np.linspace(FROM, TO, SLICES_PER_AXIS):
            number = round(float(place) * (t1.shape[axis] - 1))
            shown = [np.rot90(volume.take(number, axis)) for volume in (t1, grey, white)]
            yield _sample(f"template-{axis}-{number}", shown[0], simulated=False)
            for contrast in range(CONTRASTS):
                random = np.random.default_rng([axis, number, contrast])
                yield _sample(f"template-{axis}-{number}-contrast-{contrast}", _mixed(random, *shown), simulated=True)


def _mixed(random: np.random.Generator, t1: Field, grey: Field, white: Field) -> Field:
    """The brain with a brightness by chance for grey matter, white matter and fluid, and uneven light."""
    brain = (t1 > 0).astype(np.float32)
    fluid = np.clip(brain - grey - white, 0, 1)
    levels = random.uniform(0.1, 1.0, 3)
    picture = sum(level * tissue for level, tissue in zip(levels, (grey, white, fluid), strict=True))
    height, width = t1.shape
    light = cv2.resize(random.uniform(0.75, 1.0, (3, 3)).astype(np.float32), (width, height))
    noise = random.normal(0, random.uniform(0.005, 0.04), t1.shape)
    return np.asarray(np.clip(picture * light * brain + noise * brain, 0, 1), np.float32)


def _sample(name: str, levels: Field, *, simulated: bool) -> Sample:
    image: NDArray[np.uint8] = np.ascontiguousarray((levels * 255).round().astype(np.uint8))
    return Sample(name, image, (), SOURCE, "MR", "template", "train", simulated=simulated)


def _levels(path: Path) -> NDArray[np.float32]:
    """A volume's values, stretched to 0 to 1."""
    values = np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj, np.float32)
    return np.asarray(values / values.max(), np.float32)
