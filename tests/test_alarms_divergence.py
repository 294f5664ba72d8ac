"""Proxy against golden signal, and training against held-out loss: the sheet's series, and what each is blind to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homestretch.alarms.divergence import diverged, scatter
from homestretch.alarms.gap import widened

PROXY = [5, 4, 3, 2.5, 2.2, 2.0]  # teacher-hacking sheet, section 5
HACKED, SOUND = [6, 5, 4.5, 4.8, 5.1, 5.4], [6, 5, 4.5, 4.3, 4.2, 4.1]
SERIES = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


def test_the_series_of_the_sheet() -> None:
    assert [diverged(PROXY[:n], HACKED[:n]) is not None for n in range(1, 7)] == [False] * 5 + [True]
    found = diverged(PROXY, HACKED)
    assert found == (2, 4.5, 5.4)
    assert diverged(PROXY, SOUND) is None


def test_limits_by_hand() -> None:
    falling, flat = [4.0, 3.0, 2.0, 1.0], [1.0, 1.02, 1.02, 1.02]
    assert diverged(falling, flat) is not None
    assert diverged(falling, [1.0, 1.02, 1.019, 1.02]) is None
    assert diverged([4.0, 1.0, 1.01, 1.01], flat) is not None
    assert diverged([4.0, 1.0, 1.01, 1.011], flat) is None
    assert diverged(falling, flat, noise_golden=0.01) is None
    assert diverged([4.0, 1.0, 1.01, 1.2], flat, noise_proxy=0.2) is not None


def test_signals_that_should_rise_are_negative() -> None:
    """Of a golden signal that falls from 31 to 30 the negative rises by more than 2 % of its size."""
    reward, metric = [1.0, 2.0, 3.0, 4.0, 5.0], [29.0, 31.0, 30.3, 30.2, 30.0]
    negative = [[-value for value in values] for values in (reward, metric)]
    assert diverged(*negative) == (1, -31.0, -30.0)
    metric[2] = 30.5
    assert diverged(negative[0], [-value for value in metric]) is None


@given(proxy=SERIES)
@example(proxy=[0.0, 0.0, 0.0, 0.0])
def test_a_golden_signal_that_never_gets_worse_is_silent(proxy: list[float]) -> None:
    assert diverged(proxy, sorted(np.cumsum(np.abs(proxy)).tolist(), reverse=True)) is None


@given(proxy=SERIES, golden=SERIES, shift=st.floats(0.1, 50))
def test_more_patience_and_more_noise_speak_less(proxy: list[float], golden: list[float], shift: float) -> None:
    n = min(len(proxy), len(golden))
    proxy, golden = proxy[:n], golden[:n]
    if diverged(proxy, golden) is None:
        assert diverged(proxy, golden, patience=4) is None
        assert diverged(proxy, golden, noise_golden=shift) is None
        assert diverged(proxy, golden, eps=0.02 + shift) is None


def test_signals_are_paired() -> None:
    for alarm in (diverged, widened):
        with pytest.raises(ValueError, match="pair them first"):
            alarm([1.0, 2.0], [1.0])


@given(slope=st.floats(-3, 3), start=st.floats(-9, 9))
def test_a_straight_course_has_no_scatter(slope: float, start: float) -> None:
    assert scatter(start + slope * np.arange(9)) == pytest.approx(0, abs=1e-12)


def test_scatter_is_the_standard_deviation_of_the_noise() -> None:
    noise_N = np.random.default_rng(0).standard_normal(20_000)
    assert scatter(0.3 * noise_N + np.sin(np.arange(20_000) / 500)) == pytest.approx(0.3, rel=0.03)
    assert scatter([1.0, 9.0, 1.0, 9.0]) == 0


def test_a_gap_that_widens_is_told_with_its_size() -> None:
    training, held_out = [2.0, 1.5, 1.2, 1.0, 0.9], [2.1, 1.8, 1.9, 2.0, 2.1]
    assert widened(training[:4], held_out[:4]) is None
    found = widened(training, held_out)
    assert found is not None and found[:3] == (1, 1.8, 2.1) and found.gap == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("training", "held_out"),
    [
        pytest.param([2.0, 1.5, 1.2, 1.0], [2.1, 1.8, 1.7, 1.6], id="both fall"),
        pytest.param([1.0, 1.5, 1.7, 1.9], [1.1, 1.3, 1.4, 1.5], id="both rise: the gap closes"),
        pytest.param([2.0, 1.5, 1.2, 1.0], [1.8, 1.83, 1.83, 1.83], id="within 2 %"),
        pytest.param([2.0, 1.5, 1.2, 1.0], [1.8, 1.9, 1.8, 1.9], id="came back"),
        pytest.param([2.0, 1.5, 1.2], [1.8, 1.9, 2.0], id="too short"),
        pytest.param([2.0, 1.5, 1.2, 1.0], [1.9, 1.9, 1.8, 1.9], id="the best among the last"),
    ],
)
def test_what_is_no_gap(training: list[float], held_out: list[float]) -> None:
    assert widened(training, held_out) is None

    assert widened([2.0, 1.5, 1.2, 1.0], [1.8, 1.9, 1.9, 1.9], noise=0.07) is None
    assert widened([2.0, 1.5, 1.2, 1.0], [1.8, 1.9, 1.9, 1.9], noise=0.06) is not None


def test_a_proxy_that_is_hacked_on_held_out_prompts_is_no_gap() -> None:
    assert widened([value * 0.98 for value in PROXY], PROXY) is None


def test_a_signal_that_stays_at_zero_is_not_worse() -> None:
    falling, flat = [4.0, 3.0, 2.0, 1.0, 0.5], [0.0] * 5
    assert diverged(falling, flat) is None
    assert widened(falling, flat) is None
