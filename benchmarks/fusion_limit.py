"""How good any fused picture can be: in structural similarity alone, and in three measures at once.

    python -m benchmarks.fusion_limit [--pairs N]

A picture is changed pixel by pixel by gradient ascent (`benchmarks/fusion_ascent.py`), without any rule. `most similar`
begins at the average of both sources and counts nothing but SSIM, summed over them: what it reaches is close to the
most that a rule could. `all at once` begins at Hilum's default and again at the average, and must keep Q^AB/F and VIF
above the average's and above the founding paper's rule's; the start that ends with more SSIM is shown. `above` says on
how many of the pairs a picture's SSIM, Q^AB/F and VIF are all above those of both. Held-back pairs at true alignment
and as registered; see `benchmarks/fusion_pairs.py`.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.fusion import RULES
from benchmarks.fusion_ascent import Bars, most_similar
from benchmarks.fusion_measures import FusionMeasures
from benchmarks.fusion_pairs import Pair, PairSet, held_out
from benchmarks.report import save

PAIRS = 2
_COMPARED = ("average", "paper")

Grey = NDArray[np.uint8]


def measure(count: int = PAIRS) -> dict[str, float]:
    """Print a row a rule and a row an ascent, for every set."""
    figures: dict[str, float] = {}
    for pairs in held_out():
        # The head in two contrasts is one pair, and nothing is asked of it.
        if pairs.name != "e":
            figures |= _show(pairs, pairs.pairs[:count])
    return figures


def _show(pairs: PairSet, chosen: list[Pair]) -> dict[str, float]:
    rules = {name: [_measured(RULES[name](pair, None), pair) for pair in chosen] for name in (*_COMPARED, "hilum")}
    rows = rules | {
        "most similar": [_measured(most_similar(pair, RULES["average"](pair, None)), pair) for pair in chosen],
        "all at once": [_best_at_all(pair) for pair in chosen],
    }
    table = Table("", "SSIM", "Qabf", "VIF", "above", title=f"({pairs.name}) {pairs.title}, {len(chosen)} pairs")
    figures: dict[str, float] = {}
    for name, measured in rows.items():
        found = FusionMeasures.mean(measured)
        compared = zip(measured, *(rules[other] for other in _COMPARED), strict=True)
        above = sum(_above(own, others) for own, *others in compared)
        table.add_row(name, *(f"{value:.4f}" for value in (found.ssim, found.qabf, found.vif)), str(above))
        key = f"fusion_limit_{pairs.name}_{name.replace(' ', '_')}"
        figures |= {f"{key}_ssim": found.ssim, f"{key}_qabf": found.qabf, f"{key}_vif": found.vif}
    Console(width=100).print(table)
    return figures


def _best_at_all(pair: Pair) -> FusionMeasures:
    """Of ascents from the default and from the average: the most SSIM, those first that miss neither bar."""
    others = [_measured(RULES[name](pair, None), pair) for name in _COMPARED]
    bars = Bars(qabf=max(other.qabf for other in others), vif=max(other.vif for other in others))
    starts = (RULES[name](pair, None) for name in ("hilum", "average"))
    ends = [_measured(most_similar(pair, start, bars), pair) for start in starts]
    return max(ends, key=lambda end: (end.qabf > bars.qabf and end.vif > bars.vif, end.ssim))


def _above(own: FusionMeasures, others: list[FusionMeasures]) -> bool:
    return all(own.ssim > other.ssim and own.qabf > other.qabf and own.vif > other.vif for other in others)


def _measured(fused: Grey, pair: Pair) -> FusionMeasures:
    return FusionMeasures.of(fused, pair.fixed, pair.moving, pair.body)


def main() -> None:
    """Parse the command line, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each set")
    save(measure(parser.parse_args().pairs))


if __name__ == "__main__":
    main()
