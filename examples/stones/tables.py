"""The example's figures as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from examples.stones.found_stone import MISSED_DICE, FoundStone
from examples.stones.real_stone import FoundRealStone
from examples.stones.stone import Float
from examples.stones.stone_in_xray import XrayMask


def print_found(console: Console, found: Sequence[FoundStone]) -> None:
    """Print errors per volume, then each stone that a click missed."""
    table = Table(title="In-plane error of the stone's centre in the X-ray, mm")
    for name in ("CT", "stones", "missed", "before", "mean", "p95", "max", "regis-\ntration", "Dice"):
        table.add_column(name, justify="left" if name == "CT" else "right")
    names = list(dict.fromkeys(stone.case.patient.name for stone in found))
    for name in names:
        table.add_row(name, *_found_figures([stone for stone in found if stone.case.patient.name == name]))
    if len(names) > 1:
        table.add_row("all", *_found_figures(found))
    console.print(table)
    for stone in found:
        if stone.missed:
            case = stone.case
            console.print(
                f"missed (Dice below {MISSED_DICE}): {case.patient.name}, seed {case.seed}, "
                f"{case.placed.stone.kind} of {case.placed.stone.size_mm:.0f} mm, "
                f"{case.placed.stone.hounsfield:.0f} HU: Dice {stone.dice:.2f}, error {stone.error_mm:.1f} mm"
            )


def _found_figures(found: Sequence[FoundStone]) -> list[str]:
    """Of all stones with an outline, missed or not."""
    errors = _finite(stone.error_mm for stone in found)
    return [
        str(len(found)),
        str(sum(stone.missed for stone in found)),
        f"{np.mean([stone.shift_mm for stone in found]):.1f}",
        f"{errors.mean():.2f}",
        f"{np.percentile(errors, 95):.2f}",
        f"{errors.max():.2f}",
        f"{np.mean([stone.registration_mm for stone in found]):.2f}",
        f"{np.mean([stone.dice for stone in found]):.2f}",
    ]


def print_in_xray(console: Console, found: Sequence[FoundStone], masks: Mapping[str, Sequence[XrayMask]]) -> None:
    """Print what the decoder sees of the same stones in the X-ray, and how far from there the CT's come to lie.

    Args:
        console: where to.
        found: the stones of the CT.
        masks: of the same stones in the same order, by the kind of prompt.
    """
    table = Table(title="The same stones prompted in the X-ray")
    columns = (
        "contrast",
        "missed",
        "Dice",
        "without\nstone",
        "error\nmm",
        "prompt\nalone",
        "from the\nCT's, mm",
        "p95",
    )
    for name in ("CT", "prompt", *columns):
        table.add_column(name, justify="left" if name in ("CT", "prompt") else "right")
    names = list(dict.fromkeys(stone.case.patient.name for stone in found))
    for name in names:
        of_patient = [at for at, stone in enumerate(found) if stone.case.patient.name == name]
        for how, answers in masks.items():
            pairs = [(found[at], answers[at]) for at in of_patient]
            table.add_row(name, how, *_xray_figures(pairs))
    console.print(table)


def _xray_figures(pairs: Sequence[tuple[FoundStone, XrayMask]]) -> list[str]:
    """Medians of errors: a click that has lost its stone is anywhere."""
    masks = [mask for _, mask in pairs]
    apart = _finite(mask.distance_mm(stone.xray_px) for stone, mask in pairs)
    return [
        f"{np.median([mask.stone.contrast for mask in masks]):.1f}",
        f"{sum(mask.missed for mask in masks)} of {len(masks)}",
        f"{np.mean([mask.dice for mask in masks]):.2f}",
        f"{np.mean([mask.dice_without for mask in masks]):.2f}",
        f"{np.median(_finite(mask.error_mm for mask in masks)):.1f}",
        f"{np.median([mask.prompt_mm for mask in masks]):.1f}",
        f"{np.median(apart):.1f}",
        f"{np.percentile(apart, 95):.1f}",
    ]


def print_real(console: Console, found: Sequence[FoundRealStone]) -> None:
    """Print each real stone in each plane by each prompt, then means."""
    table = Table(title="Real stones of the abdomen CT, against a threshold's labels")
    hows = list(dict.fromkeys(each.how for each in found))
    titles = [f"{how}:\n{what}" for how in hows for what in ("centre mm", "diameter mm", "Dice")]
    for name in ("stone", "voxels", "plane", "labels mm", *titles):
        table.add_column(name, justify="left" if name == "plane" else "right")
    rows: dict[tuple[int, str], list[FoundRealStone]] = {}
    for each in found:
        rows.setdefault((each.stone.number, each.stone.plane), []).append(each)
    for answers in rows.values():
        stone, labels_mm = answers[0].stone, answers[0].diameters_mm[1]
        cells = [
            text
            for each in answers
            for text in (f"{each.centre_error_mm:.1f}", f"{each.diameters_mm[0]:.1f}", f"{each.dice:.2f}")
        ]
        table.add_row(str(stone.number), str(stone.voxels), stone.plane, f"{labels_mm:.1f}", *cells)
    console.print(table)
    for plane in dict.fromkeys(each.stone.plane for each in found):
        for how in hows:
            chosen = [each for each in found if each.stone.plane == plane and each.how == how]
            centres = _finite(each.centre_error_mm for each in chosen)
            misjudged = [abs(mask_mm - labels_mm) for mask_mm, labels_mm in (each.diameters_mm for each in chosen)]
            console.print(
                f"{plane}, {how}: {len(chosen)} stones, centre off by {centres.mean():.2f} mm (largest "
                f"{centres.max():.2f}), diameter by {np.mean(misjudged):.2f} mm (largest {np.max(misjudged):.2f}), "
                f"Dice {np.mean([each.dice for each in chosen]):.2f}"
            )


def _finite(values: Iterable[float]) -> Float:
    array = np.array(list(values))
    return np.asarray(array[np.isfinite(array)], np.float64)
