"""The clipped objectives for one token, by cases."""


def clip(x: float, low: float, high: float) -> float:
    """x, or the nearer end where it lies outside."""
    return low if x < low else high if x > high else x


def surrogate(ratio: float, adv: float, eps: float) -> float:
    """The smaller of the plain and the clipped product."""
    return min(ratio * adv, clip(ratio, 1 - eps, 1 + eps) * adv)


def value_loss(value: float, value_old: float, ret: float, eps: float) -> float:
    """Half the larger of the plain and the clipped squared error."""
    near = clip(value, value_old - eps, value_old + eps)
    return max((value - ret) ** 2, (near - ret) ** 2) / 2
