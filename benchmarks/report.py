"""Where figures go: a table on the terminal and build/bench.json."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "build" / "bench.json"


def machine() -> str:
    """Names the processor and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def show(title: str, figures: Mapping[str, float]) -> None:
    """Prints figures as a table."""
    table = Table(title=f"{title} ({machine()})")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def save(figures: Mapping[str, float]) -> None:
    """Adds figures to build/bench.json, a flat object; others that stand there stay."""
    FILE.parent.mkdir(exist_ok=True)
    known: dict[str, object] = json.loads(FILE.read_text()) if FILE.exists() else {}
    known |= {name: float(f"{value:.4g}") for name, value in figures.items()}
    known["machine"] = machine()
    FILE.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


def main(measure: Callable[[], Mapping[str, float]]) -> None:
    """Runs one benchmark, prints its figures, and saves them."""
    figures = measure()
    show(measure.__module__, figures)
    save(figures)


# What the README shows: the figure's name, what it says, what it is asked to be.
README_ROWS = (
    ("decoder_ms", "one box on a cached image, mask decoder graph, ms", ""),
    ("decoder_speedup_vs_torch", "the same against segment-anything's modules in torch, times faster", "3.5 or more"),
    ("decoder_speedup_vs_plain_export", "against the same modules exported to the same runtime", "1.4 or more"),
    ("decoder_batch16_per_box_ratio", "16 boxes in one call, cost per box against a single box", ".8 or less"),
    ("decoder_min_mask_iou", "least mask IoU against segment-anything's", ".999 or more"),
    ("encoder_ms", "image encoder, LiteMedSAM, ms", ""),
    ("encoder_speedup_vs_torch", "the same against torch eager, times faster", "2.5 or more"),
    (
        "encoder_dice_difference_vs_torch",
        "Dice on CT organs against torch's embeddings, largest difference",
        ".002 or less",
    ),
    ("predict_rpc_ms", "PredictMasks over gRPC, 512 x 512, ms", ""),
    ("rpc_overhead_ms", "of which above the same work in process, ms", "4 or less"),
    ("cached_encode_vs_empty_rpc", "EncodeImage of a cached digest against an empty RPC", "3 or less"),
    ("cold_decoder_vs_warm", "first prompt on a restarted decoder against later ones", "2 or less"),
    ("load_saturation_clicks_per_s", "clicks a second at which a decoder on one core is saturated", ""),
    ("load_goodput_vs_saturation", "at twice that load: clicks answered, against saturation", ".9 or more"),
    ("load_admitted_p99_vs_allowed", "p99 of answered ones, against 2 x unloaded p99 + one service time", "1 or less"),
    ("load_refused_p99_vs_admitted", "p99 of refusals, against the median of answered ones", ".5 or less"),
    ("load_refusals_with_push_back", "share of refusals that say when to come back", "1"),
    ("dice_ct_liver", "CT liver, Dice, boxes jittered by 5 px", ".93 or more"),
    ("dice_ct_lung", "CT lung, Dice (the worse of both)", ".92 or more"),
    ("dice_xray_lung", "simulated X-ray lung, Dice over 10 motions (the worse of both)", ".85 or more"),
    ("registration_tre_mean_px", "CT projection to simulated X-ray, 10 motions: mean error, px of 256", "1.7 or less"),
    ("registration_tre_max_px", "the largest over the body", "4 or less"),
    ("registration_seconds", "the same, seconds a pair", ""),
    ("stones_box_gain_without_region", "kidney stones: box IoU gained on the jittered prompt, whole slice", ""),
    ("stones_box_gain_with_region", "the same with a region around the prompt", "more than without"),
)
_BEGIN, _END = "<!-- bench:begin -->", "<!-- bench:end -->"


def write_readme() -> None:
    """Writes the README's table from build/bench.json."""
    known: dict[str, object] = json.loads(FILE.read_text())
    lines = ["| what | measured | asked for |", "|---|---|---|"]
    for name, words, asked in README_ROWS:
        if name in known:
            lines.append(f"| {words} | {known[name]:.4g} | {asked} |")
    lines += ["", f"`make bench` on {known['machine']}."]
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(_BEGIN)
    after = rest.split(_END)[1]
    readme.write_text("\n".join([before + _BEGIN, *lines, _END + after]))
