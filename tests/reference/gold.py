"""Reward GOLD of one response, token by token."""

import math


def weights(logp: list[float], reward: float, floor: float) -> list[float]:
    """The reward times the token's probability, or times the floor where that is more."""
    return [reward * (math.exp(x) if math.exp(x) > floor else floor) for x in logp]


def loss(logp: list[float], reward: float, floor: float) -> float:
    """Each token's weight times its negative log-probability, summed."""
    return sum(w * -x for w, x in zip(weights(logp, reward, floor), logp, strict=True))
