"""Direct preference optimisation of one pair, as the negative log-likelihood of the observed order."""

import math


def probability(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, beta: float) -> float:
    """Bradley-Terry: e^r+ / (e^r+ + e^r-), where r = beta ln(p / p_ref)."""
    better = math.exp(beta * (chosen - ref_chosen))
    worse = math.exp(beta * (rejected - ref_rejected))
    return better / (better + worse)


def loss(
    chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, *, beta: float, label_smoothing: float
) -> float:
    """The order is as it stands with probability 1 - eps, else the other way round."""
    p = probability(chosen, rejected, ref_chosen, ref_rejected, beta)
    return -(1 - label_smoothing) * math.log(p) - label_smoothing * math.log(1 - p)
