"""Ranks of methods, and how often the same prompts drawn anew would give them.

    order         by the observed values, the largest first
    best          P(i) = E[1{i is largest} / number of the largest]: those that tie share a sample
    above next    E[1{v_i > v_j} + 1/2 1{v_i = v_j}], i before j in the order, next to each other
    whole order   E[the product of the same over all neighbours]

E is the mean over bootstrap samples, the same prompts for every method in each of them. Two methods with the same
outputs get 1/2 everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from homestretch.metrics.base import Floats

TIE = 1e-9
"""Sums of the same numbers in another order differ in the last bits; relative to the largest value."""


class Ranking(NamedTuple):
    """`order` (M,) holds the methods' numbers, the best first, and everything else stands in that order."""

    order: list[int]
    p_best: list[float]
    p_above_next: list[float]
    p_order: float


def ranking(value_M: Floats, draws_RM: Floats) -> Ranking:
    """Ranks of M methods, larger being better, from their values and those of R bootstrap samples.

    Of methods with the same value the first stays first. `p_best` (M,), `p_above_next` (M - 1,).
    """
    order = np.argsort(-value_M, kind="stable")
    draws_RM = draws_RM[:, order]
    tie = TIE * max(float(np.abs(draws_RM).max()), TIE)
    leads_RM = draws_RM >= draws_RM.max(1, keepdims=True) - tie
    best_RM = leads_RM / leads_RM.sum(1, keepdims=True)
    step_RN = draws_RM[:, :-1] - draws_RM[:, 1:]
    above_RN = np.where(np.abs(step_RN) <= tie, 0.5, step_RN > 0)
    return Ranking(
        order=order.tolist(),
        p_best=best_RM.mean(0).tolist(),
        p_above_next=above_RN.mean(0).tolist(),
        p_order=float(above_RN.prod(1).mean()),
    )
