"""modeling.evaluation.protocols: prompts that are the same for everyone, and what is made of the answers."""

from dataclasses import replace

import numpy as np
import pytest

from hilum.serving.bundle import PromptKinds
from hilum.types import Point, Prompt
from modeling.evaluation import geometry
from modeling.evaluation.case import JITTER_PX, RANDOM_CLICKS, Case, Trial
from modeling.evaluation.protocols import (
    GROUPS,
    MOST_CLICKS,
    SHOWN_CLICKS,
    available,
    click_series,
)
from modeling.evaluation.refinement import follow_intensities
from modeling.sample import Sample, mask_target
from tests.unit.modeling.evaluation.conftest import BoxFiller


def _trials(predictor: BoxFiller, case: Case, group: str) -> list[Trial]:
    predictor.set_image(case.sample)
    return list(GROUPS[group][0](predictor, case))


def _with_stone(sample: Sample) -> Sample:
    """The drawn disc, called a stone."""
    disc = sample.targets[0].mask
    assert disc is not None
    return replace(sample, targets=(mask_target("kidney stone", disc),))


@pytest.mark.parametrize("group", GROUPS)
def test_prompts_do_not_depend_on_what_was_asked_before(group: str, sample: Sample) -> None:
    """Two models get the same prompts of a group, whichever groups each was asked before."""
    first, second = BoxFiller(), BoxFiller()
    _trials(second, Case(sample, 0, 20.0), "click")
    second.asked.clear()
    _trials(first, Case(sample, 0, 20.0), group)
    _trials(second, Case(sample, 0, 20.0), group)
    assert [(it.points, it.box) for it in first.asked] == [(it.points, it.box) for it in second.asked]


def test_random_clicks_are_distinct_pixels_of_the_target(sample: Sample) -> None:
    """Five clicks, all on the target, no two alike; another target of another name gets others."""
    case = Case(sample, 0, 20.0)
    clicks = case.random_clicks()
    assert len(set(clicks)) == RANDOM_CLICKS
    assert all(case.mask[int(point.y), int(point.x)] for point in clicks)
    assert clicks == Case(sample, 0, 99.0).random_clicks()
    assert clicks != Case(sample, 1, 20.0).random_clicks()


def test_a_jittered_box_is_near_the_tight_one(sample: Sample) -> None:
    """No edge of the jittered box is farther than 5 px from the target's, and it is not the same box."""
    case = Case(sample, 0, 20.0)
    moves = np.array(list(vars(case.jittered_box()).values())) - list(vars(case.target.box).values())
    assert 0 < np.abs(moves).max() <= JITTER_PX


def test_first_choice_follows_the_score_and_best_of_three_the_truth(box_filler: BoxFiller, sample: Sample) -> None:
    """The filler scores its 60 px square highest; of its three the 40 or 60 px square fits a disc of 30 px best."""
    case = Case(sample, 0, 20.0)
    trials = _trials(box_filler, case, "click")
    deepest = {trial.protocol: trial for trial in trials if trial.protocol.startswith("deepest")}
    assert deepest["deepest click"].mask.sum() == pytest.approx(60 * 60, rel=0.05)
    assert deepest["deepest click"].score == pytest.approx(0.6)
    best = geometry.iou(case.mask, deepest["deepest click, best of three"].mask)
    assert best >= geometry.iou(case.mask, deepest["deepest click"].mask)
    assert sum(trial.protocol == "click" for trial in trials) == RANDOM_CLICKS


def test_the_first_choice_of_a_click_is_the_models(sample: Sample) -> None:
    """A model whose mask 0 learnt clicks is judged by it, in single clicks and as a series begins."""
    predictor = BoxFiller(kinds=PromptKinds(points=True, box=True, mask_input=True, single_click=True))
    case = Case(sample, 0, 20.0)
    trials = _trials(predictor, case, "click")
    areas = {trial.protocol: int(trial.mask.sum()) for trial in trials if trial.protocol.startswith("deepest")}
    assert areas["deepest click"] == 21 * 21
    assert areas["deepest click, best of three"] > 2 * areas["deepest click"]
    for single, chosen in zip(
        *([it.mask for it in trials if it.protocol == name] for name in ("click, single mask", "click")), strict=True
    ):
        assert np.array_equal(single, chosen)
    assert np.array_equal(click_series(predictor, case.mask, Point(60, 50), 1)[0].mask, trials[-2].mask)


def test_clicks_that_never_reach_the_goal_count_as_twenty(box_filler: BoxFiller, sample: Sample) -> None:
    """The filler never gets better: 20 clicks are counted, each series is asked once, and its masks are fed back."""
    trials = _trials(box_filler, Case(sample, 0, 20.0), "clicks")
    assert {trial.clicks for trial in trials if "deepest" in trial.protocol} == {(MOST_CLICKS, MOST_CLICKS)}
    assert {f"{count} clicks, deepest first" for count in SHOWN_CLICKS[1:]} <= {trial.protocol for trial in trials}
    assert len(box_filler.asked) == 5 + MOST_CLICKS
    assert sum(prompt.mask_input is not None for prompt in box_filler.asked) == 4 + MOST_CLICKS - 1


def test_masks_are_not_fed_back_to_models_that_do_not_take_them(sample: Sample) -> None:
    """A model without mask_input gets points only."""
    predictor = BoxFiller(kinds=PromptKinds(points=True, box=True, mask_input=False))
    _trials(predictor, Case(sample, 0, 20.0), "clicks")
    assert all(prompt.mask_input is None for prompt in predictor.asked)


def test_a_perfect_mask_gets_no_more_clicks(box_filler: BoxFiller, sample: Sample) -> None:
    """Once truth and mask agree, the answer stands for the rest of the series and the model is asked no more."""
    truth = geometry.filled(geometry.square_at(Point(60, 50), 60, sample.size), sample.size)
    box_filler.set_image(sample)
    series = click_series(box_filler, truth, Point(60, 50), 7)
    assert len(series) == 7
    assert all((trial.mask == truth).all() for trial in series)
    assert len(box_filler.asked) == 1


def test_twenty_points_are_ten_on_the_target_and_ten_around_it(box_filler: BoxFiller, sample: Sample) -> None:
    """Positive points lie on the target, negative ones within 20 px of its box and off it."""
    case = Case(sample, 0, 20.0)
    (trial,) = _trials(box_filler, case, "points")
    near = geometry.grown(case.target.box, 20, sample.size)
    assert [point.foreground for point in trial.prompt.points] == [True] * 10 + [False] * 10
    for point in trial.prompt.points:
        assert case.mask[int(point.y), int(point.x)] == point.foreground
        assert geometry.contains(near, (point.x, point.y))


def test_masks_of_stones_are_refined(box_filler: BoxFiller, sample: Sample) -> None:
    """The jittered box and the random clicks are asked again, and each mask becomes the bright object it lies on."""
    case = Case(_with_stone(sample), 0, 20.0)
    trials = _trials(box_filler, case, "refined")
    assert [trial.protocol for trial in trials] == ["box jittered, refined"] + ["click, refined"] * RANDOM_CLICKS
    assert geometry.iou(case.mask, trials[0].mask) > 0.99
    plain = [*_trials(box_filler, case, "box"), *_trials(box_filler, case, "click")]
    before = [trial for trial in plain if trial.protocol in {"box jittered", "click"}]
    assert [trial.prompt for trial in before] == [trial.prompt for trial in trials]
    for trial, model in zip(trials, before, strict=True):
        assert trial.score == model.score
        assert (trial.mask == follow_intensities(model.mask, model.prompt.box, case.sample.image)).all()


def test_only_stones_in_grey_images_are_refined(box_filler: BoxFiller, sample: Sample) -> None:
    """Organs are no bright objects, and colours no intensities: nothing is asked."""
    assert _trials(box_filler, Case(sample, 0, 20.0), "refined") == []
    coloured = replace(_with_stone(sample), image=np.repeat(sample.image[..., None], 3, axis=2))
    assert _trials(box_filler, Case(coloured, 0, 20.0), "refined") == []


def test_everything_mode_keeps_the_best_fit(box_filler: BoxFiller, sample: Sample) -> None:
    """Of a grid's squares the kept one fits the disc at least as well as a click in its middle does."""
    case = Case(sample, 0, 20.0)
    (trial,) = _trials(box_filler, case, "everything")
    assert geometry.iou(case.mask, trial.mask) > 0.6


def test_baselines_ask_for_the_same_square_at_the_same_clicks(box_filler: BoxFiller, sample: Sample) -> None:
    """A fixed square is as large as the setting says, around each random click; the filled box needs no model."""
    trials = _trials(box_filler, Case(sample, 0, 24.0), "baselines")
    squares = [trial for trial in trials if trial.protocol == "fixed square at the click"]
    assert [trial.mask.sum() for trial in squares] == pytest.approx([24 * 24] * RANDOM_CLICKS, rel=0.1)
    assert np.isnan(squares[0].score)
    filled = next(trial for trial in trials if trial.protocol == "filled box")
    assert filled.mask.sum() == 61 * 61


def test_targets_without_masks_get_only_what_can_be_measured(box_filler: BoxFiller, sample: Sample) -> None:
    """A target known by its box gets boxes and random clicks in it, no click series and no best of three."""
    case = Case(sample, 1, 20.0)
    assert _trials(box_filler, case, "clicks") == []
    protocols = {trial.protocol for trial in _trials(box_filler, case, "click")}
    assert protocols == {"click", "click, single mask", "click, best scored of three"}


def test_models_that_refuse_are_not_asked(sample: Sample) -> None:
    """Running services with a box-only model have boxes and baselines, and no clicks; graphs in process have all."""
    boxes_only = PromptKinds(points=False, box=True, mask_input=False)
    served, graphs = BoxFiller(refuses=True, kinds=boxes_only), BoxFiller(kinds=boxes_only)
    assert [name for name in GROUPS if available(served, name)] == ["box", "baselines", "none"]
    assert all(available(graphs, name) for name in GROUPS)
    assert _trials(served, Case(sample, 0, 20.0), "none") == []
    assert [trial.prompt for trial in _trials(graphs, Case(sample, 0, 20.0), "none")] == [Prompt()]
