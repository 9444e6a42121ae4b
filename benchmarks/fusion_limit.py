"""How much structural similarity any fused picture can have, and at what price in the other measures.

    python -m benchmarks.fusion_limit [--pairs N]

From the average of both sources, which SSIM summed over them favours by its form, the picture itself is changed by
gradient ascent (Adam, 150 steps) on nothing but that SSIM, inside the body, without any rule. What it reaches is close
to the most that a rule could; its other measures say what a rule would give away for it. Held-back pairs at true
alignment; see `benchmarks/fusion_pairs.py`.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.fusion import RULES
from benchmarks.fusion_measures import FusionMeasures
from benchmarks.fusion_pairs import Pair, held_out
from benchmarks.report import save
from hilum.types import BoolMask

PAIRS = 4
_RATES = ((1.0, 100), (0.3, 50))
_SIDE, _MARGIN = 7, 3
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

Grey = NDArray[np.uint8]


def most_similar(pair: Pair) -> Grey:
    """The picture that ascent on SSIM, summed over both sources, makes of their average."""
    sources = [torch.from_numpy(image.astype(np.float64)) for image in (pair.fixed, pair.moving)]
    picture = ((sources[0] + sources[1]) / 2.0).clone().requires_grad_(True)
    for rate, steps in _RATES:
        optimiser = torch.optim.Adam([picture], lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            dissimilarity = -sum((similarity(picture, source, pair.body) for source in sources), torch.zeros(()))
            dissimilarity.backward()  # type: ignore[no-untyped-call]  # torch's own signature
            optimiser.step()
            with torch.no_grad():
                picture.clamp_(0.0, 255.0)
    found: Grey = np.rint(picture.detach().numpy()).astype(np.uint8)
    return found


def similarity(image: Tensor, reference: Tensor, body: BoolMask) -> Tensor:
    """SSIM as `fusion_measures.structural_similarity` defines it, differentiable."""
    unbiased = _SIDE**2 / (_SIDE**2 - 1)
    mean_x, mean_y = _boxes(image), _boxes(reference)
    variance_x = unbiased * (_boxes(image * image) - mean_x**2)
    variance_y = unbiased * (_boxes(reference * reference) - mean_y**2)
    covariance = unbiased * (_boxes(image * reference) - mean_x * mean_y)
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    likeness = likeness / ((mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2))
    return likeness[torch.from_numpy(body[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN])].mean()


def _boxes(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane[None, None], _SIDE, 1)[0, 0]


def measure(count: int = PAIRS) -> dict[str, float]:
    """Print a row a rule and one of the ascent, for every set."""
    figures: dict[str, float] = {}
    for pairs in held_out(registered=(False,)):
        chosen = pairs.pairs[:count]
        pictures = {name: [RULES[name](pair, None) for pair in chosen] for name in ("average", "paper", "hilum")}
        pictures["most similar"] = [most_similar(pair) for pair in chosen]
        table = Table("", "SSIM", "Qabf", "VIF", title=f"({pairs.name}) {pairs.title}, {len(chosen)} pairs")
        for name, fused in pictures.items():
            found = FusionMeasures.mean(
                [FusionMeasures.of(f, p.fixed, p.moving, p.body) for f, p in zip(fused, chosen, strict=True)]
            )
            table.add_row(name, *(f"{value:.4f}" for value in (found.ssim, found.qabf, found.vif)))
            figures[f"fusion_limit_{pairs.name}_{name.replace(' ', '_')}_ssim"] = found.ssim
        Console(width=100).print(table)
    return figures


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each set")
    save(measure(parser.parse_args().pairs))


if __name__ == "__main__":
    main()
