"""The curves of a fine-tuning as a picture: loss and IoU of each kind of prompt over the steps."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

SMOOTHED_STEPS = 50


def draw_curves(log: Path, picture: Path) -> None:
    """Read `steps.jsonl`, write a PNG."""
    steps = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, name, title in zip(
        figure.subplots(1, 2), ("loss", "iou"), ("loss", "IoU of the first choice"), strict=True
    ):
        for kind in sorted({step["kind"] for step in steps}):
            numbers, values = zip(*((s["step"], s[name]) for s in steps if s["kind"] == kind), strict=True)
            axis.plot(numbers, _smoothed(np.array(values)), label=kind)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle("Fine-tuning, on training images")
    figure.savefig(picture, dpi=100)


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the last `SMOOTHED_STEPS` values at each place."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - SMOOTHED_STEPS, 0)
    return np.asarray((sums[ends] - sums[begins]) / (ends - begins))
