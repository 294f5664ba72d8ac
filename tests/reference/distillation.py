"""Divergences of two next-token laws as sums over tokens, and of two models as a sum over whole texts."""

import math
from collections.abc import Callable
from itertools import product


def softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    """exp(z / tau) over its sum."""
    weights = [math.exp(z / temperature) for z in logits]
    return [w / sum(weights) for w in weights]


def kl(p: list[float], q: list[float]) -> float:
    """sum p ln(p / q) over the tokens that p has."""
    if any(a > 0 and b == 0 for a, b in zip(p, q, strict=True)):
        return math.inf
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def divergence(p: list[float], q: list[float], kind: str, beta: float) -> float:
    """Teacher p, student q; beta 0 and 1 of `jsd` are the two directions."""
    forward, reverse = kl(p, q), kl(q, p)
    if kind == "forward_kl" or (kind == "jsd" and beta == 0):
        return forward
    if kind == "reverse_kl" or (kind == "jsd" and beta == 1):
        return reverse
    if kind == "jeffreys":
        return forward + reverse
    m = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


def top_k(p: list[float], q: list[float], k: int) -> float:
    """Forward, all tokens but the k best of p being one."""
    best = sorted(range(len(p)), key=lambda v: -p[v])[:k]
    return kl(_merged(p, best), _merged(q, best))


def of_texts(p: Callable[[tuple[int, ...]], float], q: Callable[[tuple[int, ...]], float], length: int) -> float:
    """KL of two distributions of texts of zeros and ones, by enumeration; each gives P(next is 1 | text so far)."""
    total = 0.0
    for text in product((0, 1), repeat=length):
        share, other = _probability(p, text), _probability(q, text)
        total += share * math.log(share / other)
    return total


def _probability(law: Callable[[tuple[int, ...]], float], text: tuple[int, ...]) -> float:
    return math.prod(law(text[:i]) if token else 1 - law(text[:i]) for i, token in enumerate(text))


def _merged(law: list[float], best: list[int]) -> list[float]:
    return [law[v] for v in best] + [sum(x for v, x in enumerate(law) if v not in best)]
