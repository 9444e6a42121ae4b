"""Plots and pictures of the report, each a PNG; drawn without a window system and without global state."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hilum.types import BoolMask, Prompt
from modeling.evaluation.evaluate import WorstCase
from modeling.evaluation.outcome import Outcome, chosen, macro_mean
from modeling.evaluation.score import answers_of
from modeling.evaluation.statistics import reliability
from modeling.evaluation.tables import models_of, protocols_of

TRUTH, PREDICTION, PROMPT = "lime", "red", "yellow"
NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSIS"


def dice_plot(outcomes: Sequence[Outcome]) -> bytes | None:
    """Macro mean Dice of every protocol with its interval, one mark a model."""
    masks = [it for it in outcomes if "dice" in it.values]
    protocols, models = protocols_of(masks), models_of(masks)
    if not protocols:
        return None
    figure = Figure(figsize=(9, 0.3 * len(protocols) + 1.4), layout="constrained")
    axes = figure.subplots()
    for number, model in enumerate(models):
        means = [macro_mean(chosen(masks, protocol=protocol, model=model), "dice") for protocol in protocols]
        rows = np.arange(len(protocols)) + (number - (len(models) - 1) / 2) * 0.25
        values = np.array([mean.value for mean in means])
        bounds = np.array([[mean.low, mean.high] for mean in means])
        errors = np.nan_to_num(np.abs(bounds - values[:, None]).T)
        axes.errorbar(values, rows, xerr=errors, fmt="o", markersize=4, label=model)
    axes.set(yticks=range(len(protocols)), yticklabels=protocols, xlabel="Dice, macro mean over sources", xlim=(0, 1))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    return _png(figure)


def clicks_plot(outcomes: Sequence[Outcome]) -> bytes | None:
    """Macro mean Dice against the number of clicks, deepest point first."""
    shown = {1: "deepest click"} | {count: f"{count} clicks, deepest first" for count in (3, 5, 10, 20)}
    known = set(protocols_of(outcomes))
    if not set(shown.values()) <= known:
        return None
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for model in models_of(outcomes):
        means = [macro_mean(chosen(outcomes, protocol=name, model=model), "dice").value for name in shown.values()]
        axes.plot(list(shown), means, "o-", label=model)
    axes.set(xlabel="clicks", ylabel="Dice, macro mean over sources", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return _png(figure)


def reliability_plot(outcomes: Sequence[Outcome]) -> bytes | None:
    """Mean IoU of each bin of model scores."""
    answers = [it for it in answers_of(outcomes) if not it.values["empty"]]
    if not answers:
        return None
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="grey")
    for model in models_of(answers):
        mine = chosen(answers, model=model)
        table = reliability([it.values["score"] for it in mine], [it.values["iou"] for it in mine])
        axes.plot([row.mean_score for row in table], [row.mean_iou for row in table], "o-", label=model)
    axes.set(xlabel="model score", ylabel="IoU", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize="small")
    return _png(figure)


def worst_picture(case: WorstCase) -> bytes:
    """The image with outlines of truth and answer, and the prompt; says that it is not for diagnosis."""
    height, width = case.sample.size
    figure = Figure(figsize=(3.6, 3.6 * height / width + 0.7), layout="constrained")
    axes = figure.subplots()
    axes.imshow(case.sample.image, cmap="gray", vmin=0, vmax=255)
    _outline(axes, case.truth, TRUTH)
    _outline(axes, case.mask, PREDICTION)
    _prompt(axes, case.prompt)
    axes.axis("off")
    name = f"{case.sample.source}: {case.sample.name}"
    axes.set_title(f"{name}\n{case.outcome.label}, {case.outcome.protocol}: {case.fit:.2f}", fontsize=7)
    marks = NOT_FOR_DIAGNOSIS + (" - SIMULATED" if case.sample.simulated else "")
    axes.text(
        0.5, 0.02, marks, transform=axes.transAxes, ha="center", color="white", fontsize=7, backgroundcolor="black"
    )
    return _png(figure)


def _outline(axes: Axes, mask: BoolMask, colour: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(np.pad(mask, 1)[1:-1, 1:-1], levels=[0.5], colors=[colour], linewidths=0.8)


def _prompt(axes: Axes, prompt: Prompt) -> None:
    box = prompt.box
    if box is not None:
        corner, size = (box.x_min, box.y_min), (box.x_max - box.x_min, box.y_max - box.y_min)
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=PROMPT, linestyle="--", linewidth=0.8))
    for point in prompt.points:
        axes.plot(point.x, point.y, "+" if point.foreground else "x", color=PROMPT, markersize=7)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
