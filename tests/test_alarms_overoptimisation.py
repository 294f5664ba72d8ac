"""The laws of over-optimisation: exact ones are found with their peak, chance is refused, and a turn is told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.alarms.overoptimisation import FORMS, LEAST_ROUNDS, Form, Law, fit_law, turned

KL = np.linspace(0, 25, 60)


def curve(form: Form, *, peak: float, rounds: int = 60, start: float = 0.0) -> np.ndarray:
    """A law with its maximum at d = `peak`, 1 above the start."""
    ratio = np.sqrt(np.linspace(0, 25, rounds)) / peak
    if form == "best_of_n":
        return start + ratio * (2 - ratio)
    return start + ratio * (1 - np.log(np.maximum(ratio, 1e-300)))


@given(alpha=st.floats(0.1, 5), beta=st.floats(0.01, 2), start=st.floats(-3, 3), form=st.sampled_from(FORMS))
def test_an_exact_law_is_found_with_its_peak(alpha: float, beta: float, start: float, form: Form) -> None:
    distance = np.sqrt(KL)
    inner = distance if form == "best_of_n" else np.log(np.maximum(distance, 1e-300))
    law = fit_law(KL, start + distance * (alpha - beta * inner), form=form)
    assert law is not None
    assert (law.start, law.alpha, law.beta) == pytest.approx((start, alpha, beta), rel=1e-6, abs=1e-9)
    peak = alpha / (2 * beta) if form == "best_of_n" else math.exp(alpha / beta - 1)
    assert law.peak == pytest.approx(peak, rel=1e-4)


@given(alpha=st.floats(0.1, 3), beta=st.floats(0.1, 2), form=st.sampled_from(FORMS))
def test_the_peak_is_the_maximum(alpha: float, beta: float, form: Form) -> None:
    law = Law(form, 0.5, alpha, beta, 0.0)
    assert law.peak is not None
    around = law.at(law.peak * np.array([0.97, 1.0, 1.03]))
    assert around[1] == around.max()
    assert law.at([0.0]) == pytest.approx(0.5)


def test_laws_without_a_peak() -> None:
    assert Law("best_of_n", 0.0, 1.0, -0.1, 0.0).peak is None
    assert Law("best_of_n", 0.0, -1.0, 0.1, 0.0).peak is None
    assert Law("rl", 0.0, 1.0, 0.0, 0.0).peak is None
    assert Law("rl", 0.0, 1e6, 1.0, 0.0).peak is not None, "very far, but a number"


@pytest.mark.parametrize("form", FORMS)
def test_no_better_than_a_constant_is_refused(form: Form) -> None:
    drawn = [np.random.default_rng(seed).standard_normal(60) for seed in range(200)]
    refused = sum(fit_law(KL, reward, form=form) is None for reward in drawn)
    assert refused >= 190, "at one percent of chance two of 200 pass on average"
    assert fit_law(KL, np.ones(60), form=form) is None
    assert fit_law(np.ones(60), drawn[0], form=form) is None, "a KL that never changes explains nothing"
    assert fit_law(KL, np.sqrt(KL) + 0.1 * drawn[0], form=form) is not None


def test_estimates_below_zero_count_as_zero() -> None:
    kl, reward = KL.copy(), curve("rl", peak=3.0)
    kl[0] = -0.4
    law = fit_law(kl, reward, form="rl")
    assert law is not None and law.peak == pytest.approx(3.0)


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="too few for 3 parameters"):
        fit_law([0, 1, 2], [0, 1, 2], form="rl")
    with pytest.raises(ValueError, match="too few"):
        fit_law([0, 1, 2, 3, 4], [0, 1, 2, 3], form="rl")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("start", [0.0, -7.0])
def test_a_turn_is_told_with_its_peak(form: Form, start: float) -> None:
    found = turned(KL, curve(form, peak=3.0, start=start))
    assert found is not None and found.law.form == form
    assert found.peak_kl == pytest.approx(9.0, rel=1e-3)
    assert found.highest == pytest.approx(start + 1, abs=0.02) and found.last < start + 0.9
    assert 22 < found.kl < 25
    assert turned(KL[:20], curve(form, peak=3.0, start=start)[:20]) is None, "the peak lies ahead"


@pytest.mark.parametrize(
    "reward",
    [
        pytest.param(np.sqrt(KL), id="a line"),
        pytest.param(1 - np.exp(-np.sqrt(KL)), id="levels off"),
        pytest.param(-np.sqrt(KL), id="falls from the start"),
        pytest.param(np.ones(60), id="constant"),
        pytest.param(curve("best_of_n", peak=4.5), id="a peak behind, and hardly a fall"),
    ],
)
def test_no_turn(reward: np.ndarray) -> None:
    assert turned(KL, reward) is None


def test_a_fall_within_the_noise_is_no_turn() -> None:
    reward = curve("best_of_n", peak=3.0)
    assert turned(KL, reward) is not None
    noise = np.where(np.arange(60) % 2, 0.3, -0.3)
    assert turned(KL, reward + noise) is None
    assert turned(KL, reward + noise, sigmas=0.5) is not None


def test_a_short_run_is_not_judged() -> None:
    kl, reward = np.linspace(0, 25, LEAST_ROUNDS), curve("rl", peak=1.5, rounds=LEAST_ROUNDS)
    assert turned(kl, reward) is not None
    assert turned(kl[:-1], reward[:-1]) is None
