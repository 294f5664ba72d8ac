"""The contrastive loss of one pair from its cosines, and cosines of lists."""

import math


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def loss(positive: list[list[float]], negative: list[list[float]], *, temperature: float = 1.0) -> float:
    """-ln of the mean of sigmoids, minus ln of one minus the mean of sigmoids."""
    near = [sigmoid(c / temperature) for row in positive for c in row]
    far = [sigmoid(c / temperature) for row in negative for c in row]
    return -math.log(sum(near) / len(near)) - math.log(1 - sum(far) / len(far))


def mean_of_log(positive: list[list[float]], negative: list[list[float]]) -> float:
    near = [-math.log(sigmoid(c)) for row in positive for c in row]
    far = [-math.log(1 - sigmoid(c)) for row in negative for c in row]
    return sum(near) / len(near) + sum(far) / len(far)
