"""Numbers that change over a run: the learning rate's factor and the adaptive KL coefficient. Plain floats."""

from __future__ import annotations

import math
from typing import Literal

Kind = Literal["constant", "linear", "cosine"]


def adapt_kl_coef(coef: float, kl: float, *, target: float, horizon: float, n: int) -> float:
    """coef (1 + clip(kl / target - 1, +-0.2) n / horizon)  (Ziegler et al., 2019, arXiv:1909.08593, section 2.2)

    `kl` and `target` are in nats a sequence, `n` counts the sequences since the last change, and the coefficient
    moves by at most 20 % in `horizon` sequences to first order.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * n / horizon)


def learning_rate_factor(step: int, *, kind: Kind, warmup_steps: int, total_steps: float) -> float:
    """Factor in [0, 1] on the learning rate at the update with this number, counted from 0.

    Rises linearly from 0 over `warmup_steps`, then stays at 1 (`constant`), falls in a straight line (`linear`) or
    along half a cosine (`cosine`) to 0 at `total_steps`, and stays there.
    """
    if step < warmup_steps:
        return step / warmup_steps
    if kind == "constant":
        return 1.0
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return 1.0 - progress if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
