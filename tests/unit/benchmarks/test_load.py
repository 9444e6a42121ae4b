import pytest

from benchmarks.load import OVERLOAD_S, SATURATION_S, WARM_UP_S, Outcome, Round, figures


def even(per_s: float, seconds: float, duration_s: float, *, refused: bool = False) -> list[Outcome]:
    """Calls that end one after the other."""
    ends = [(number + 0.5) / per_s for number in range(round(per_s * seconds))]
    retry_after_s = 0.1 if refused else None
    return [Outcome(end, duration_s, refused=refused, retry_after_s=retry_after_s) for end in ends]


def test_figures_by_hand() -> None:
    """Goodput counts answers with masks after the warm-up, latencies of admitted calls leave refusals out."""
    overloaded = even(19, OVERLOAD_S, 0.05) + even(21, OVERLOAD_S, 0.005, refused=True)
    one = Round(even(10, 5.0, 0.02), even(20, SATURATION_S, 0.3), overloaded, saturated_cpu_s=SATURATION_S)
    result = figures([one, one])
    assert result["load_saturation_clicks_per_s"] == pytest.approx(20, rel=0.02)
    assert result["load_offered_clicks_per_s"] == pytest.approx(40, rel=0.02)
    assert result["load_goodput_vs_saturation"] == pytest.approx(0.95, rel=0.02)
    assert result["load_cpu_ms_per_click"] == pytest.approx(50)
    assert result["load_admitted_p99_vs_allowed"] == pytest.approx(0.05 / (2 * 0.02 + 0.02))
    assert result["load_refused_p99_vs_admitted"] == pytest.approx(0.1)
    assert result["load_refused_share"] == pytest.approx(21 / 40, rel=0.02)
    assert result["load_refusals_with_push_back"] == 1


def test_the_warm_up_does_not_count() -> None:
    """Calls that end in a phase's first moments change no figure but the load offered."""
    late = even(20, OVERLOAD_S, 0.05)
    early = [Outcome(WARM_UP_S / 2, 9.0)] * 50
    calm, saturated = even(10, 5.0, 0.02), even(20, SATURATION_S, 0.3)
    plain = figures([Round(calm, saturated, late, 1.0)])
    noisy = figures([Round([*early, *calm], saturated, [*early, *late], 1.0)])
    changed = {name for name in plain if plain[name] != noisy[name]}
    assert changed == {"load_offered_clicks_per_s"}
