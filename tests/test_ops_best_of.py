"""Best-of-n: its divergence, the n that matches one, and which sample is the best."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import best_of as reference

from homestretch.ops.best_of import best, best_of_kl, best_of_n, spread


def test_numbers_of_the_sheet() -> None:
    assert best_of_kl(1) == 0
    assert best_of_kl(16) == pytest.approx(1.8350887, abs=1e-7)
    assert best_of_kl(128) == pytest.approx(3.8598428, abs=1e-7)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_it_is_a_bound_that_many_different_outputs_come_near_to(n: int) -> None:
    """Of eight outputs, as likely as each other, and of two of which one is likely."""
    many = reference.kl([1 / 8] * 8, list(range(8)), n)
    few = reference.kl([0.7, 0.3], [0.0, 1.0], n)
    assert few <= best_of_kl(n) + 1e-12 and many <= best_of_kl(n) + 1e-12
    assert many == pytest.approx(best_of_kl(n), abs=0.12)
    assert reference.kl([1 / 8] * 8, [0.0] * 8, n) == pytest.approx(0), "where all earn the same, nothing is chosen"


@given(kl=st.floats(0, 6))
def test_n_is_the_nearest_of_all(kl: float) -> None:
    far = [abs(math.log(n) - (n - 1) / n - kl) for n in range(1, 2000)]
    assert best_of_n(kl) == 1 + far.index(min(far))


def test_n_at_the_places_in_between() -> None:
    assert [best_of_n(best_of_kl(n)) for n in (1, 2, 5, 16, 128)] == [1, 2, 5, 16, 128]
    # ln 2 - 1/2 = 0.193: below its half one sample is nearer.
    assert best_of_n(0.09) == 1 and best_of_n(0.1) == 2


def test_the_best_by_hand() -> None:
    """Two prompts, three samples, two rewards: spread by 10 and by 1."""
    reward_NKM = torch.tensor([[[0.0, 2.0], [10.0, 1.0], [20.0, 0.0]], [[5.0, 0.0], [5.0, 1.0], [5.0, 1.0]]])
    assert best(reward_NKM, [1.0, 0.0], standardise=False).tolist() == [2, 0], "the first of those that tie"
    assert best(reward_NKM, [0.0, 1.0], standardise=False).tolist() == [0, 1]
    assert best(reward_NKM, [0.4, 0.6], standardise=False).tolist() == [2, 1], "the wide one decides"
    # 20 / 6.1 = 3.3 and 2 / 0.69 = 2.9 standard deviations: 0.4 * 3.3 < 0.6 * 2.9.
    assert best(reward_NKM, [0.4, 0.6], standardise=True).tolist() == [0, 1]


def test_what_does_not_apply_earns_nothing_and_is_left_out_of_the_spread() -> None:
    reward_NKM = torch.tensor([[[torch.nan], [-1.0], [2.0]]])
    assert best(reward_NKM, [1.0], standardise=True).tolist() == [2]
    assert best(reward_NKM, [-1.0], standardise=True).tolist() == [1]
    assert float(spread(reward_NKM)) == pytest.approx(1.5)
    assert float(spread(torch.tensor([3.0, 3.0]))) == 1 and float(spread(torch.tensor([torch.nan]))) == 1
