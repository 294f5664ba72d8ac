"""Weighted behaviour cloning of one response, from its definition."""


def loss(logp: list[float], reward: float) -> float:
    """The reward times the negative log-likelihood of the whole response."""
    nll = 0.0
    for x in logp:
        nll = nll - x
    return reward * nll
