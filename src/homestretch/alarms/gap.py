"""Generalisation gap: what the training rows gain is lost on others.

    gap_i = v_i - u_i                                                                                    (1)
    alarm = v_i >= min v + eps |min v| + n, v_i > min v and gap_i > gap_argmin v
            at the last K evaluations                                                                    (2)

u is a loss on the rows that are trained on and v the same on held-out rows, smaller being better for both (teacher-
hacking sheet 2.5.3; its eps = 0.02 and K = 3 of 2.5.1); n is what chance does to v. Memorisation is not hacking: a
proxy that is exploited improves on held-out prompts too, and then `divergence` speaks and this is silent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Gap(NamedTuple):
    """`best` is the evaluation (an index) with the smallest held-out loss; that loss, the last one, the last gap."""

    best: int
    smallest: float
    last: float
    gap: float


def widened(
    training: ArrayLike, held_out: ArrayLike, *, eps: float = 0.02, patience: int = 3, noise: float = 0.0
) -> Gap | None:
    """Eq. 2 for the evaluations (N,) of both losses, or None. Raises ValueError where they are not as many."""
    training_N, held_N = np.asarray(training, dtype=np.float64), np.asarray(held_out, dtype=np.float64)
    if training_N.shape != held_N.shape:
        raise ValueError(f"{len(training_N)} training losses and {len(held_N)} held-out ones: pair them first.")
    if len(held_N) <= patience:
        return None
    gap_N, best = held_N - training_N, int(held_N.argmin())
    worse_N = (held_N > held_N[best]) & (held_N >= held_N[best] + eps * abs(held_N[best]) + noise)
    if best >= len(held_N) - patience or not (worse_N & (gap_N > gap_N[best]))[-patience:].all():
        return None
    return Gap(best, float(held_N[best]), float(held_N[-1]), float(gap_N[-1]))
