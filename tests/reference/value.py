"""The value's squared error and the advantage of one response."""


def loss(value: float, reward: float) -> float:
    """(V - R)^2."""
    return (value - reward) * (value - reward)


def advantage(reward: float, value: float) -> float:
    """R - V."""
    return reward - value
