"""Advantages and returns of one response from the sums that define them; no recursion, no padding."""


def td_error(reward: list[float], value: list[float], t: int, gamma: float) -> float:
    """delta_t, the value behind the last step being 0."""
    following = value[t + 1] if t + 1 < len(value) else 0.0
    return reward[t] + gamma * following - value[t]


def advantages(reward: list[float], value: list[float], *, gamma: float, lam: float) -> list[float]:
    """A_t = sum_k (gamma lam)^k delta_{t+k}."""
    steps = range(len(reward))
    return [sum((gamma * lam) ** (k - t) * td_error(reward, value, k, gamma) for k in steps if k >= t) for t in steps]


def monte_carlo(reward: list[float], *, gamma: float) -> list[float]:
    """sum_k gamma^k r_{t+k}."""
    steps = range(len(reward))
    return [sum(gamma ** (k - t) * reward[k] for k in steps if k >= t) for t in steps]
