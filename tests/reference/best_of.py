"""The best of n independent draws from a list of outputs, by enumeration: its law, and its divergence from one draw."""

import itertools
import math


def law(probability: list[float], reward: list[float], n: int) -> list[float]:
    """Probability that each output is the one kept; of equal rewards the first drawn is."""
    kept = [0.0] * len(probability)
    for drawn in itertools.product(range(len(probability)), repeat=n):
        best = max(drawn, key=lambda i: reward[i])
        kept[best] += math.prod(probability[i] for i in drawn)
    return kept


def kl(probability: list[float], reward: list[float], n: int) -> float:
    """sum_y q(y) ln (q(y) / p(y))."""
    kept = law(probability, reward, n)
    return sum(q * math.log(q / p) for q, p in zip(kept, probability, strict=True) if q > 0)
