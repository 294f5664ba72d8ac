"""The power law of a loss: found exactly where it is exact, blind to outliers, and left by a run that turns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.alarms.power_law import LEAST_POINTS, MOST_POINTS, blocks, fit_power_law, left_law

SHEET = [2, 1.414214, 1, 0.707107, 0.5]  # teacher-hacking sheet, section 5
LENGTHS = st.integers(LEAST_POINTS, 200)


def noisy(n: int, *, noise: float, floor: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    step_N = np.arange(1, n + 1)
    error_N = np.random.default_rng(seed).standard_normal(n)
    return step_N, (floor + 2 * step_N**-0.5) * np.exp(noise * error_N)


@pytest.mark.parametrize("floor", [False, True])
def test_the_law_of_the_sheet(floor: bool) -> None:
    law = fit_power_law([1, 2, 4, 8, 16], SHEET, floor=floor)
    assert (law.factor, law.exponent, law.floor) == pytest.approx((2, 0.5, 0), abs=1e-6)
    assert law.spread < 1e-6
    assert law.at([32]) == pytest.approx(2 / math.sqrt(32))
    assert law.freedom == (2 if floor else 3)


@given(factor=st.floats(0.1, 50), exponent=st.floats(0.05, 2))
def test_a_law_without_noise_is_found(factor: float, exponent: float) -> None:
    step_N = np.arange(3, 40)
    law = fit_power_law(step_N, factor * step_N**-exponent, floor=False)
    assert (law.factor, law.exponent) == pytest.approx((factor, exponent), rel=1e-6)
    assert left_law(step_N, factor * step_N**-exponent) is None


@given(share=st.floats(0.05, 0.9), exponent=st.floats(0.3, 1.5))
def test_a_floor_bends_the_straight_line_and_is_found(share: float, exponent: float) -> None:
    step_N = np.arange(1, 60)
    value_N = share + (1 - share) * step_N**-exponent
    plain, floored = (fit_power_law(step_N, value_N, floor=floor) for floor in (False, True))
    # Floors are those of a grid, in shares of the smallest value.
    assert abs(floored.floor - share) < 0.06 * value_N.min()
    assert floored.spread < plain.spread
    assert left_law(step_N, value_N) is None


def test_outliers_do_not_move_it() -> None:
    step_N = np.arange(1, 41)
    value_N = 2 * step_N**-0.5
    value_N[[4, 11, 19, 30]] *= 3
    law = fit_power_law(step_N, value_N, floor=False)
    assert (law.factor, law.exponent) == pytest.approx((2, 0.5), rel=1e-6)


@given(scale=st.floats(1e-3, 1e3), n=LENGTHS)
def test_the_unit_of_the_loss_does_not_matter(scale: float, n: int) -> None:
    step_N, value_N = noisy(n, noise=0.05)
    value_N[n // 2 :] *= np.linspace(1, 4, n - n // 2)
    one, other = left_law(step_N, value_N), left_law(step_N, scale * value_N)
    assert (one is None) == (other is None)
    assert one is None or other is None or scale * one.expected == pytest.approx(other.expected)


def test_the_interval_widens_away_from_what_was_fitted() -> None:
    law = fit_power_law(*noisy(30, noise=0.1), floor=False)
    near, far, farther = law.width([15, 60, 600])
    assert law.spread < near < far < farther
    assert law.spread == pytest.approx(0.1, rel=0.5)
    # With 28 degrees of freedom three standard deviations are a little more.
    assert law.limit([15], sigmas=3, least=0) == pytest.approx(3.28 * near, rel=0.01)
    assert law.limit([15], sigmas=3, least=10) == pytest.approx(math.log(11))


def test_width_by_hand_for_a_straight_line() -> None:
    """Of a regression on x, the variance of a prediction is s^2 (1 + 1/N + (x - mean)^2 / sum (x - mean)^2)."""
    step_N, value_N = noisy(20, noise=0.1)
    law, x_N = fit_power_law(step_N, value_N, floor=False), np.log(step_N)
    lever = 1 / 20 + (math.log(50) - x_N.mean()) ** 2 / np.square(x_N - x_N.mean()).sum()
    assert law.width([50])[0] == pytest.approx(law.spread * math.sqrt(1 + lever), rel=1e-6)


def turning(n: int = 60, at: int = 40, noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    step_N, value_N = noisy(n, noise=noise)
    value_N[at:] = value_N[at] * (1 + 0.03 * np.arange(n - at))
    return step_N, value_N


def test_a_run_that_turns_leaves_its_law_and_says_where() -> None:
    step_N, value_N = turning()
    found = left_law(step_N, value_N)
    assert found is not None
    assert found.step == 58 and found.seen == value_N[-1]
    assert found.expected < 0.8 * found.seen
    assert left_law(step_N[:40], value_N[:40]) is None


def test_it_takes_as_many_points_in_a_row_as_it_says() -> None:
    step_N, value_N = turning(at=57)
    value_N[57:] *= 1.5
    assert left_law(step_N, value_N) is not None
    assert left_law(step_N[:-1], value_N[:-1]) is None
    assert left_law(step_N[:-1], value_N[:-1], patience=2) is not None
    value_N[58] = 2 * step_N[58] ** -0.5
    assert left_law(step_N, value_N) is None


def test_to_fall_faster_is_no_illness() -> None:
    step_N, value_N = noisy(60, noise=0.01)
    value_N[40:] /= 2
    assert left_law(step_N, value_N) is None


def test_what_is_small_is_no_break_and_a_short_run_is_not_judged() -> None:
    step_N = np.arange(1, 61)
    value_N = 2 * step_N**-0.5
    value_N[-3:] *= 1.029
    assert left_law(step_N, value_N) is None
    value_N[-3:] *= 1.01
    assert left_law(step_N, value_N) is not None
    step_N, value_N = turning(n=LEAST_POINTS, at=14)
    value_N[14:] *= 2
    assert left_law(step_N, value_N) is not None
    assert left_law(step_N[:-1], value_N[:-1]) is None


def test_warmup_is_left_out() -> None:
    step_N, value_N = noisy(100, noise=0.005)
    value_N[:9] = 40.0
    assert left_law(step_N, value_N) is None
    law = fit_power_law(step_N[10:50], value_N[10:50], floor=False)
    assert law.exponent == pytest.approx(0.5, abs=0.02)


@given(n=st.integers(1, 2000))
def test_blocks_keep_the_law_and_are_few(n: int) -> None:
    step_N = np.arange(1, n + 1)
    step_B, value_B = blocks(step_N, 3 * step_N**-0.7)
    assert len(step_B) < MOST_POINTS and (n < MOST_POINTS) == (len(step_B) == n)
    assert n < MOST_POINTS or len(step_B) >= MOST_POINTS // 2
    assert value_B == pytest.approx(3 * step_B**-0.7)


def test_a_block_is_whole_or_left_out() -> None:
    value_N = np.full(130, 2.0)
    value_N[128:] = 900.0
    assert blocks(np.arange(1, 131), value_N)[1].tolist() == pytest.approx([2.0] * 32)


@pytest.mark.parametrize(
    ("steps", "values", "says"),
    [
        ([1, 2], [2.0, 1.0], "too few for 2 parameters"),
        ([1, 2, 3], [2.0, 1.0], "too few"),
        ([1, 2, 3], [2.0, 1.0, 0.0], "above 0"),
        ([0, 1, 2], [2.0, 1.0, 1.0], "above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(steps: list[int], values: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_power_law(steps, values, floor=False)
    with pytest.raises(ValueError, match="too few for 3 parameters"):
        fit_power_law([1, 2, 3], [3.0, 2.0, 1.0], floor=True)


def test_a_rise_within_the_half_that_is_fitted_is_no_law() -> None:
    step_N = np.arange(1.0, 41.0)
    rising_N = 50 * 1.02 ** np.maximum(step_N - 10, 0) + 5 / step_N
    found = left_law(step_N, rising_N)
    assert found is not None and found.law.exponent >= 0 and found.seen > found.expected
