"""REINFORCE with the other samples as the baseline, response by response."""

import math


def advantage(rewards: list[float], logp: list[list[float]], ref: list[list[float]], b: int, *, coef: float) -> float:
    """The penalised reward of sample b of one prompt, minus the mean of those of the other samples."""
    paid = [r - coef * (sum(p) - sum(q)) for r, p, q in zip(rewards, logp, ref, strict=True)]
    others = [value for j, value in enumerate(paid) if j != b]
    return paid[b] - sum(others) / len(others)


def loss(logp: list[float], old: list[float], adv: float, *, eps: float) -> float:
    """Minus the smaller of the plain and the clipped product, with the ratio of the whole response."""
    ratio = math.prod(math.exp(p) / math.exp(q) for p, q in zip(logp, old, strict=True))
    return -min(ratio * adv, min(max(ratio, 1 - eps), 1 + eps) * adv)
