"""The adaptive coefficient and the learning rate's factor, by hand and by their shape."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.ops.schedules import adapt_kl_coef, learning_rate_factor

KINDS = ["constant", "linear", "cosine"]


def test_coefficient_of_the_sheet() -> None:
    assert adapt_kl_coef(0.2, 9.0, target=6.0, horizon=10_000, n=256) == pytest.approx(0.201024)


@pytest.mark.parametrize(
    ("kl", "factor"), [(0.0, 1 - 0.2 / 4), (5.7, 1 - 0.05 / 4), (6.0, 1.0), (6.6, 1 + 0.1 / 4), (60.0, 1 + 0.2 / 4)]
)
def test_the_error_is_cut_on_both_sides(kl: float, factor: float) -> None:
    assert adapt_kl_coef(0.1, kl, target=6.0, horizon=400, n=100) == pytest.approx(0.1 * factor)


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_is_a_straight_line_from_zero(kind: str) -> None:
    got = [learning_rate_factor(step, kind=kind, warmup_steps=4, total_steps=10) for step in range(5)]
    assert got == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("kind", "want"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.75, 0.5, 0.0]),
        ("cosine", [1.0, (1 + math.cos(math.pi / 4)) / 2, 0.5, 0.0]),
    ],
)
def test_after_the_warm_up(kind: str, want: list[float]) -> None:
    got = [learning_rate_factor(step, kind=kind, warmup_steps=2, total_steps=10) for step in (2, 4, 6, 10)]
    assert got == pytest.approx(want)


@pytest.mark.parametrize("kind", KINDS)
@given(step=st.integers(0, 300), warmup=st.integers(0, 120), total=st.integers(1, 100))
def test_stays_between_zero_and_one(kind: str, step: int, warmup: int, total: int) -> None:
    assert 0.0 <= learning_rate_factor(step, kind=kind, warmup_steps=warmup, total_steps=total) <= 1.0
    assert learning_rate_factor(0, kind=kind, warmup_steps=0, total_steps=total) == 1.0
