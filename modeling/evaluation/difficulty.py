"""How Dice depends on what a target looks like: rank correlation and thirds, by factor."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from modeling.evaluation.factors import NAMES
from modeling.evaluation.outcome import Outcome, chosen
from modeling.evaluation.tables import Table, models_of

PROTOCOLS = ("box jittered", "click")
# Fewer targets have no thirds to speak of.
LEAST_TARGETS = 9


def factor_table(outcomes: Sequence[Outcome]) -> Table:
    """Spearman's rank correlation of each factor with Dice, and mean Dice in its lower, middle and upper third."""
    rows = []
    for protocol in PROTOCOLS:
        for model in models_of(outcomes):
            here = [it for it in chosen(outcomes, protocol=protocol, model=model) if NAMES[0] in it.values]
            for name in NAMES:
                factor, dice = _by_target(here, name)
                if len(factor) >= LEAST_TARGETS and np.ptp(factor) > 0 and np.ptp(dice) > 0:
                    result = spearmanr(factor, dice)
                    thirds = (f"{part.mean():.3f}" for part in np.array_split(dice[np.argsort(factor)], 3))
                    correlation = f"{result.statistic:+.2f} (p {result.pvalue:.2g})"
                    rows.append((protocol, model, name, correlation, *thirds, str(len(factor))))
    note = (
        "Targets of all sources together, each with its mean over repetitions; p takes targets as independent, which "
        "those of one patient are not. Complexity: perimeter^2 / (4 pi area)."
    )
    header = ("protocol", "model", "factor", "Spearman", "Dice, lower third", "middle", "upper", "targets")
    return Table("Factors", note, header, tuple(rows))


def _by_target(outcomes: Sequence[Outcome], name: str) -> tuple["np.ndarray[tuple[int], np.dtype[np.float64]]", ...]:
    targets: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for it in outcomes:
        if np.isfinite(it.values[name]):
            key = (it.source, it.sample, it.target)
            targets.setdefault(key, []).append((it.values[name], it.values["dice"]))
    means = np.array([np.mean(pairs, axis=0) for pairs in targets.values()], np.float64).reshape(-1, 2)
    return means[:, 0], means[:, 1]
