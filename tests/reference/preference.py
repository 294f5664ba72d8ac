"""Reward-model losses of one pair: a better response and C worse ones."""

import math


def sp(z: float) -> float:
    """ln(1 + e^z)."""
    return math.log(1 + math.exp(z))


def bce(chosen: float, rejected: list[float]) -> float:
    """sp(-R+) plus the mean of sp(R-)."""
    return sp(-chosen) + sum(sp(r) for r in rejected) / len(rejected)


def pairwise(chosen: float, rejected: list[float], margin: float = 0.0) -> float:
    """Mean of sp(-(R+ - R- - margin))."""
    return sum(sp(-(chosen - r - margin)) for r in rejected) / len(rejected)
