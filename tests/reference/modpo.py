"""Multi-objective DPO of one pair: the reward that the pairs are ordered by is what is left of the policy's own."""

import math


def left_over(logp: float, logp_ref: float, rewards: list[float], beta: float, weights: list[float]) -> float:
    """w . r = beta ln(p / p_ref) + const, solved for the first reward; `weights` begin with its own."""
    own, *others = weights
    total = beta * (logp - logp_ref)
    for weight, reward in zip(others, rewards, strict=True):
        total -= weight * reward
    return total / own


def loss(
    chosen: tuple[float, float, list[float]],
    rejected: tuple[float, float, list[float]],
    *,
    beta: float,
    weights: list[float],
) -> float:
    """Negative log-likelihood of the order; a side is its log-probability, the reference's, and its other rewards."""
    better = math.exp(left_over(*chosen, beta, weights))
    worse = math.exp(left_over(*rejected, beta, weights))
    return -math.log(better / (better + worse))
