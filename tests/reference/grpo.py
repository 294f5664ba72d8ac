"""Group-relative policy optimisation, token by token."""

import math


def advantage(rewards: list[float], b: int, *, scale: bool) -> float:
    """How far the reward of sample b lies above the mean of its prompt's samples, in standard deviations of them."""
    mean = sum(rewards) / len(rewards)
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))
    return (rewards[b] - mean) / (std + 1e-4) if scale else rewards[b] - mean


def loss(logp: float, old: float, ref: float, adv: float, *, eps: float, beta: float) -> float:
    """Minus the clipped objective of one token, plus the penalty on its divergence."""
    ratio, odds = math.exp(logp) / math.exp(old), math.exp(ref) / math.exp(logp)
    objective = min(ratio * adv, min(max(ratio, 1 - eps), 1 + eps) * adv)
    return -(objective - beta * (odds - 1 - math.log(odds)))


def objective(rows: list[list[float]], average: str) -> float:
    """Mean over responses of the means of their tokens' losses, or over all tokens."""
    if average == "sequence":
        return sum(sum(row) / len(row) for row in rows) / len(rows)
    return sum(map(sum, rows)) / sum(map(len, rows))
