"""Prompts simulated from a known target, seeded, and the masks a model answers them with.

docs/concepts/evaluation.md defines every protocol in words. A prompt depends on the seed, the sample, the target and
the protocol only: every model gets the same prompts, in any order, on any subset.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from hilum.serving.bundle import PromptKinds
from hilum.types import BoolMask, Point, Prompt
from modeling.evaluation import geometry
from modeling.evaluation.case import Case, Trial
from modeling.evaluation.predictor import Answers, Candidates, Predictor, first_choice
from modeling.evaluation.refinement import follow_intensities

GROUND_MARGIN_PX, GROUND_SHIFT_PX, GROUND_SCALE = 20.0, 30.0, 0.10
MOST_CLICKS = 20
SHOWN_CLICKS = (1, 3, 5, 10, 20)
FEW_CLICKS = (3, 5)
MANY_POINTS = 10
GRID_SIDE = 16
GRID_BATCH = 8
# Labels with this word are bright targets, which refinement is made for.
STONE = "stone"


Group: TypeAlias = Callable[[Predictor, Case], Iterator[Trial]]


def boxes(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """Tight and jittered boxes."""
    prompts = {"box": Prompt(box=case.target.box), "box jittered": Prompt(box=case.jittered_box())}
    answers = predictor.predict(list(prompts.values()))
    for row, (name, prompt) in enumerate(prompts.items()):
        yield Trial(name, answers.masks[row, 0], prompt, float(answers.scores[row, 0]))


def ground(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """BreastSAM's prompts: a loose box, and a random point of the target (first choice)."""
    random = case.random("ground box")
    box = geometry.loosened(
        case.target.box,
        margin=GROUND_MARGIN_PX,
        shift=GROUND_SHIFT_PX,
        scale=GROUND_SCALE,
        size=case.sample.size,
        random=random,
    )
    pixels = np.argwhere(case.mask)
    y, x = pixels[case.random("ground point").integers(len(pixels))]
    prompt = Prompt(box=box)
    answers = predictor.predict([prompt])
    yield Trial("ground box", answers.masks[0, 0], prompt, float(answers.scores[0, 0]))
    yield from _first_and_best(predictor, "ground point", Point(float(x), float(y)), None)


def click(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """One click: five random pixels, each alone, and the deepest point of the target."""
    truth = case.target.mask
    prompts = _single_clicks(case)
    answers = predictor.predict(prompts, "four")
    for row, prompt in enumerate(prompts):
        four = answers.of(row)
        masks, scores = four.masks[0], four.scores[0]
        scored = 1 + int(scores[1:].argmax())
        yield Trial("click, single mask", masks[0], prompt, float(scores[0]))
        yield Trial("click, best scored of three", masks[scored], prompt, float(scores[scored]))
        yield from _chosen(predictor.kinds, "click", prompt, four, truth)
    if truth is not None:
        yield from _first_and_best(predictor, "deepest click", geometry.deepest(truth), truth)


def clicks(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """Clicks in the largest error, as often as twenty times; from a random and from the deepest first click."""
    truth = case.target.mask
    if truth is None:
        return
    few = click_series(predictor, truth, case.random_clicks()[0], max(FEW_CLICKS))
    for count in FEW_CLICKS:
        yield Trial(f"{count} clicks", few[count - 1].mask, few[count - 1].prompt, few[count - 1].score)
    series = click_series(predictor, truth, geometry.deepest(truth), MOST_CLICKS)
    ious = [geometry.iou(truth, trial.mask) for trial in series]
    needed = (_clicks_to(ious, 0.85), _clicks_to(ious, 0.90))
    for count in SHOWN_CLICKS[1:]:
        trial = series[count - 1]
        yield Trial(f"{count} clicks, deepest first", trial.mask, trial.prompt, trial.score, needed)


def points(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """Twenty points at once, ten on the target and ten around it (single mask), to be held against one click."""
    truth = case.target.mask
    if truth is None:
        return
    random = case.random("20 points")
    box = case.target.box
    near = geometry.filled(geometry.grown(box, GROUND_MARGIN_PX, case.sample.size), case.sample.size) & ~truth
    around = near if near.any() else ~truth
    chosen = [(mask, flag) for mask, flag in ((truth, True), (around, False)) if mask.any()]
    drawn: list[Point] = []
    for mask, flag in chosen:
        pixels = np.argwhere(mask)
        rows = random.choice(len(pixels), MANY_POINTS, replace=len(pixels) < MANY_POINTS)
        drawn += [Point(float(x), float(y), flag) for y, x in pixels[rows]]
    prompt = Prompt(tuple(drawn))
    answers = predictor.predict([prompt])
    yield Trial("20 points", answers.masks[0, 0], prompt, float(answers.scores[0, 0]))


def refined(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """Stones only: the jittered box and the random clicks again, each mask refined as the decoder service does it."""
    if STONE not in case.target.label.lower() or case.sample.image.ndim != 2:
        return
    asked: tuple[tuple[str, list[Prompt], Candidates], ...] = (
        ("box jittered, refined", [Prompt(box=case.jittered_box())], "single"),
        ("click, refined", _single_clicks(case), "four"),
    )
    for protocol, prompts, candidates in asked:
        answers = predictor.predict(prompts, candidates)
        for row, prompt in enumerate(prompts):
            first = 0 if candidates == "single" else first_choice(predictor.kinds, answers.scores[row])
            mask = follow_intensities(answers.masks[row, first], prompt.box, case.sample.image)
            yield Trial(protocol, mask, prompt, float(answers.scores[row, first]))


def everything(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """A grid of clicks over the image; of all their masks the one that fits the target best."""
    truth = case.target.mask
    if truth is None:
        return
    height, width = case.sample.size
    centres = (np.arange(GRID_SIDE) + 0.5) / GRID_SIDE
    prompts = [Prompt((Point(float(x * width - 0.5), float(y * height - 0.5)),)) for y in centres for x in centres]
    best = Trial("everything, best fit", np.zeros_like(truth), Prompt(), 0.0)
    best_iou = 0.0
    for begin in range(0, len(prompts), GRID_BATCH):
        batch = prompts[begin : begin + GRID_BATCH]
        for trial in _each(predictor, best.protocol, batch):
            if (found := geometry.iou(truth, trial.mask)) > best_iou:
                best, best_iou = trial, found
    yield best


def no_prompt(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """The model's answer to nothing: what it takes for the main thing (single mask)."""
    if predictor.refuses or case.target.mask is None:
        return
    answers = predictor.predict([Prompt()])
    yield Trial("no prompt", answers.masks[0, 0], Prompt(), float(answers.scores[0, 0]))


def baselines(predictor: Predictor, case: Case) -> Iterator[Trial]:
    """What needs no understanding: the filled box, a fixed square at a click, and the model's answer to that square."""
    size = case.sample.size
    yield Trial("filled box", geometry.filled(case.target.box, size), Prompt(box=case.target.box))
    squares = [geometry.square_at(point, case.fixed_side, size) for point in case.random_clicks()]
    prompts = [Prompt(box=square) for square in squares]
    answers = predictor.predict(prompts)
    for row, (square, prompt) in enumerate(zip(squares, prompts, strict=True)):
        yield Trial("fixed square at the click", geometry.filled(square, size), prompt)
        yield Trial("fixed-size box at the click", answers.masks[row, 0], prompt, float(answers.scores[row, 0]))


# Name of the group: its function, and the kinds of prompts it sends.
GROUPS: dict[str, tuple[Group, frozenset[str]]] = {
    "box": (boxes, frozenset({"box"})),
    "ground": (ground, frozenset({"box", "points"})),
    "click": (click, frozenset({"points"})),
    "clicks": (clicks, frozenset({"points"})),
    "points": (points, frozenset({"points"})),
    "refined": (refined, frozenset({"box", "points"})),
    "baselines": (baselines, frozenset({"box"})),
    "none": (no_prompt, frozenset()),
    "everything": (everything, frozenset({"points"})),
}


# A region is encoded for nearly every prompt: a series of twenty clicks would cost forty encodings.
CLOSE_GROUPS = ("box", "click", "refined")


def available(predictor: Predictor, group: str) -> bool:
    """Whether a predictor is asked a group's prompts: it answers them, and closer looks are about boxes and a click."""
    if predictor.looks_closely and group not in CLOSE_GROUPS:
        return False
    return not predictor.refuses or all(getattr(predictor.kinds, kind) for kind in GROUPS[group][1])


def click_series(predictor: Predictor, truth: BoolMask, first: Point, count: int) -> list[Trial]:
    """Answers after 1, 2 ... `count` clicks, each in the deepest point of the largest error component.

    The first answer is the model's first choice; later ones are the single mask, with the answer before fed back
    where the model was trained on that, as segment-anything's own evaluation does. A perfect mask gets no more clicks.
    """
    placed = [first]
    answers = predictor.predict([Prompt((first,))], "four")
    choice = first_choice(predictor.kinds, answers.scores[0])
    trials = [Trial("", answers.masks[0, choice], Prompt((first,)), float(answers.scores[0, choice]))]
    low_res = answers.low_res[0, choice]
    while len(trials) < count:
        following = geometry.next_click(truth, trials[-1].mask)
        if following is None:
            return trials + [trials[-1]] * (count - len(trials))
        placed.append(following)
        prompt = Prompt(tuple(placed), mask_input=low_res if predictor.kinds.mask_input else None)
        answers = predictor.predict([prompt])
        low_res = answers.low_res[0, 0]
        trials.append(Trial("", answers.masks[0, 0], prompt, float(answers.scores[0, 0])))
    return trials


def _single_clicks(case: Case) -> list[Prompt]:
    """One prompt for each random click."""
    return [Prompt((point,)) for point in case.random_clicks()]


def _first_and_best(predictor: Predictor, protocol: str, where: Point, truth: BoolMask | None) -> Iterator[Trial]:
    prompt = Prompt((where,))
    answers = predictor.predict([prompt], "four")
    yield from _chosen(predictor.kinds, protocol, prompt, answers, truth)


def _chosen(
    kinds: PromptKinds, protocol: str, prompt: Prompt, four: Answers, truth: BoolMask | None
) -> Iterator[Trial]:
    """Of a click's four masks the first choice, and with a truth the best of the three that it may mean."""
    masks, scores = four.masks[0], four.scores[0]
    first = first_choice(kinds, scores)
    yield Trial(protocol, masks[first], prompt, float(scores[first]))
    if truth is not None:
        best = 1 + int(np.argmax([geometry.iou(truth, mask) for mask in masks[1:]]))
        yield Trial(f"{protocol}, best of three", masks[best], prompt, float(scores[best]))


def _each(predictor: Predictor, protocol: str, prompts: list[Prompt]) -> Iterator[Trial]:
    answers = predictor.predict(prompts, "three")
    for row, prompt in enumerate(prompts):
        for mask, score in zip(answers.masks[row], answers.scores[row], strict=True):
            yield Trial(protocol, mask, prompt, float(score))


def _clicks_to(ious: list[float], goal: float) -> int:
    return next((number for number, value in enumerate(ious, 1) if value >= goal), MOST_CLICKS)
