"""How scores order pairs: by hand, with ties, prompts that share pairs, claims and annotators."""

from __future__ import annotations

import math

import numpy as np
import pytest

from homestretch.metrics.agreement import accuracy, agreement, calibration, lead, right_order
from homestretch.metrics.stats import wilson

BETTER, WORSE, PROMPTS = [2.0, 1.0, 0.0, 0.0], [1.0, 1.0, 3.0, 0.0], list("aabc")


def test_ties_count_half_and_pairs_of_a_prompt_are_averaged() -> None:
    right = right_order(BETTER, WORSE)
    assert right.tolist() == [1, 0.5, 0, 0.5]
    found = accuracy(right, PROMPTS)
    assert found.value == pytest.approx((0.75 + 0 + 0.5) / 3) and found.n == 3
    assert (found.low, found.high) == pytest.approx(wilson(1.25, 3)[1:])


def test_likelihood_and_claims_by_hand() -> None:
    found = agreement(BETTER, WORSE, PROMPTS, log_odds=True)
    terms = [math.log(1 + math.exp(-margin)) for margin in (1, 0, -3, 0)]
    assert found.nll == pytest.approx(sum(terms) / 4)
    claims = [(c.claimed, c.right.value, c.right.n) for c in found.calibration]
    expected = [(0.5, 0.5, 2), (1 / (1 + math.exp(-1)), 1, 1), (1 / (1 + math.exp(-3)), 0, 1)]
    assert [pytest.approx(each) for each in expected] == claims
    plain = agreement(BETTER, WORSE, PROMPTS, log_odds=False)
    assert plain.nll is None and plain.calibration == [] and plain.accuracy == found.accuracy


def test_claims_that_come_true_lie_on_the_line() -> None:
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 2, 20_000)
    true = np.where(rng.random(20_000) < 1 / (1 + np.exp(-np.abs(margin))), np.abs(margin), -np.abs(margin))
    claims = calibration(true)
    assert [c.claimed for c in claims] == sorted(c.claimed for c in claims) and len(claims) == 5
    assert all(abs(c.claimed - c.right.value) < 0.02 for c in claims)
    assert sum(c.right.n for c in claims) == 20_000


def test_annotators_are_told_apart_where_they_are_named() -> None:
    found = agreement(BETTER, WORSE, PROMPTS, log_odds=False, annotators=["x", "y", None, "x"]).annotators
    assert list(found) == ["x", "y"]
    assert (found["x"].value, found["x"].n) == (0.75, 2) and (found["y"].value, found["y"].n) == (0.5, 1)


def test_a_lead_is_over_prompts() -> None:
    right = {"a": np.ones(5), "b": np.zeros(5)}
    found = lead("a", "b", right, list("ppqrs"))
    assert (found.difference, found.low, found.high, found.n) == (1, 1, 1, 4)
    assert found.p_value == 2 / 2**4, "all signs the one way or the other, of the sixteen ways"
    assert lead("b", "a", right, list("ppqrs")).difference == -1
    assert (found.metric, found.higher_is_better) == ("accuracy", True)
