"""Exact divergences of two distributions, and the expectation of an estimator over the tokens of the first."""

import math
from collections.abc import Callable


def kl(p: list[float], q: list[float]) -> float:
    """sum p ln(p / q)."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def expectation(p: list[float], value: Callable[[int], float]) -> float:
    """Mean of value(token) when tokens are drawn from p."""
    return sum(a * value(token) for token, a in enumerate(p))


def k3(p: float, q: float) -> float:
    """r - 1 - ln r with r = q / p."""
    return q / p - 1 - math.log(q / p)
