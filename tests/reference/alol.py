"""Losses of A-LoL for one response, each written out by itself."""

import math


def clip(x: float, eps: float | None) -> float:
    """x, or the nearer end of [1 - eps, 1 + eps]."""
    return x if eps is None else min(max(x, 1 - eps), 1 + eps)


def nll(logp: list[float]) -> float:
    """Minus the log-probability of the whole response."""
    return -sum(logp)


def whole_ratio(logp: list[float], ref: list[float]) -> float:
    """p(y) / p_ref(y) as a product over tokens."""
    return math.prod(math.exp(p) / math.exp(r) for p, r in zip(logp, ref, strict=True))


def loss(
    variant: str, logp: list[float], ref: list[float], *, reward: float, adv: float, eps: float | None, beta: float
) -> float:
    """The loss of one example by the table of the sheet."""
    positive = adv if adv > 0 else 0.0
    if variant == "r_lol":
        return reward * clip(whole_ratio(logp, ref), eps) * nll(logp)
    if variant == "a_lol":
        return positive * clip(whole_ratio(logp, ref), eps) * nll(logp)
    if variant == "a_lol_ref_free":
        return positive * nll(logp)
    if variant == "a_lol_seq":
        return positive * sum(clip(math.exp(p - r), eps) * -p for p, r in zip(logp, ref, strict=True))
    return positive * nll(logp) + beta * (sum(logp) - sum(ref))
