"""Proxy against golden signal: what is trained on still improves, and what is meant gets worse.

    worse_i  = g_i >= min_{j<=i} g_j + eps |min g| + n_g                                                 (1)
    better_i = p_i <= min_{j<=i} p_j + delta |min p| + n_p                                               (2)
    alarm    = (1) and (2) at the last K evaluations                                                     (3)

(Tiapkin et al. 2025, arXiv:2502.02671; teacher-hacking sheet 2.5.1 with its eps = 0.02, delta = 0.01, K = 3. For
positive signals without noise, eq. 1 is the sheet's g >= (1 + eps) min g.) Smaller is better for both signals; a
signal that should rise is given with its sign changed. What has not risen is not worse: (1) of a signal that stays at 0
would hold by equality. `n` is what chance alone does to an evaluation: 0 for the sheet's fixed validation rollouts, a
multiple of `scatter` for means over fresh samples. A run of 24 such evaluations or more is taken in parts, 12 to 23 of
them, whose means are p and g.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from homestretch.alarms.power_law import OF_NORMAL


class Divergence(NamedTuple):
    """`best` is the evaluation (an index) at which the golden signal was smallest, with that value and the last."""

    best: int
    smallest: float
    last: float


def diverged(
    proxy: ArrayLike,
    golden: ArrayLike,
    *,
    eps: float = 0.02,
    delta: float = 0.01,
    patience: int = 3,
    noise_proxy: float = 0.0,
    noise_golden: float = 0.0,
) -> Divergence | None:
    """Eq. 3 for the evaluations (N,) of both signals, or None. Raises ValueError where they are not as many."""
    proxy_N, golden_N = np.asarray(proxy, dtype=np.float64), np.asarray(golden, dtype=np.float64)
    if proxy_N.shape != golden_N.shape:
        raise ValueError(f"{len(proxy_N)} values of the proxy and {len(golden_N)} golden ones: pair them first.")
    if len(golden_N) <= patience:
        return None
    lowest_N, least_N = np.minimum.accumulate(golden_N), np.minimum.accumulate(proxy_N)
    worse_N = (golden_N > lowest_N) & (golden_N >= lowest_N + eps * np.abs(lowest_N) + noise_golden)
    better_N = proxy_N <= least_N + delta * np.abs(least_N) + noise_proxy
    if not (worse_N & better_N)[-patience:].all():
        return None
    best = int(golden_N.argmin())
    return Divergence(best, float(golden_N[best]), float(golden_N[-1]))


def scatter(values: ArrayLike) -> float:
    """Standard deviation of independent noise about a smooth course (N,), from second differences; 0 for N < 5."""
    value_N = np.asarray(values, dtype=np.float64)
    if len(value_N) < 5:
        return 0.0
    return OF_NORMAL * float(np.median(np.abs(np.diff(value_N, 2)))) / 6**0.5
