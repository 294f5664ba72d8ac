"""Log-probabilities and entropies from their definitions, one row at a time, in plain Python floats."""

import math


def log_softmax(logits: list[float]) -> list[float]:
    """ln(exp(z_v) / sum exp(z)); the largest logit is taken out first so that nothing overflows."""
    top = max(logits)
    total = sum(math.exp(z - top) for z in logits)
    return [z - top - math.log(total) for z in logits]


def entropy(logits: list[float]) -> float:
    """-sum p ln p, where a token without probability adds nothing."""
    return -sum(math.exp(lp) * lp for lp in log_softmax(logits) if lp > -math.inf)
