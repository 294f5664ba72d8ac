"""The power law of a quantity that falls while a model learns, and when a run leaves it.

    f(t) = m_inf + C t^-alpha                                   without a floor m_inf = 0                (1)
    e_i  = ln m_i - ln f(t_i),   s = 1.4826 median |e_i| sqrt(N / (N - P))                               (2)
    w_i  = s sqrt(1 + j_i' (J'J)^-1 j_i),   j_i = d ln f(t_i) / d (ln C, alpha, m_inf)                   (3)
    out  = e_i > max(q w_i, ln(1 + least))                                                               (4)

(Tiapkin et al. 2025, "On Teacher Hacking in Language Model Distillation", arXiv:2502.02671; sheet 2.5.2 with its
k = 3 and r = 3.) For each floor of a grid, alpha and ln C are the line of Theil (1950) and Sen (1968) through
ln(m - m_inf) on ln t, the median of all slopes, or 0 where that rises; the floor with the smallest sum of |e_i| is
kept. q is the quantile of Student's t with N - P degrees of freedom that is as rare as k standard deviations of a
normal variable.

Deviations  1. The sheet flags both sides. A falling step size and a second pass over the same data push a loss below
               its law without any harm, so only points above it count.
            2. A point is outside where it is above both laws: with a floor, a straight line bends by itself.
            3. What is less than 3 % above the law is no break: near a floor the law is that uncertain.
            4. What was fitted follows the run: its first half, warm-up left out, predicts its last points.
            5. alpha >= 0: a first half that rises already does not make a rise the law.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

Floats = NDArray[np.float64]

FLOORS = np.concatenate([np.linspace(0.0, 0.9, 19), [0.93, 0.95, 0.97, 0.98, 0.99, 0.995]])
"""Floors that are tried, as shares of the smallest value."""
OF_NORMAL = 1.4826
"""Standard deviation of a normal variable over its median distance from the centre."""
MOST_POINTS = 64
LEAST_POINTS = 24
WARMUP, FITTED = 0.1, 0.5
"""Shares of the points: those before the first are left out, those up to the second are fitted."""


class PowerLaw(NamedTuple):
    """Eq. 1 as it was fitted; `spread` is s, `inverse_PP` is (J'J)^-1 (P, P), `freedom` is N - P."""

    floor: float
    factor: float
    exponent: float
    spread: float
    inverse_PP: Floats
    freedom: int

    def at(self, steps: ArrayLike) -> Floats:
        """f(t), in the unit of the quantity."""
        return np.asarray(self.floor + self.factor * np.asarray(steps, dtype=np.float64) ** -self.exponent)

    def width(self, steps: ArrayLike) -> Floats:
        """Standard deviation of ln m about ln f(t) for a new point (eq. 3)."""
        jacobian_NP = _jacobian(self.floor, self.factor, self.exponent, np.asarray(steps, dtype=np.float64))
        jacobian_NP = jacobian_NP[:, : len(self.inverse_PP)]
        return self.spread * np.sqrt(1 + np.einsum("np,pq,nq->n", jacobian_NP, self.inverse_PP, jacobian_NP))

    def limit(self, steps: ArrayLike, *, sigmas: float, least: float) -> Floats:
        """What e may be at most (eq. 4)."""
        quantile = float(stdtrit(self.freedom, ndtr(sigmas)))
        return np.maximum(quantile * self.width(steps), math.log1p(least))


class Break(NamedTuple):
    """A run that has left its law: `step` of the first point outside, the last value and what was expected of it."""

    step: float
    seen: float
    expected: float
    law: PowerLaw


def fit_power_law(steps: ArrayLike, values: ArrayLike, *, floor: bool) -> PowerLaw:
    """The law of `values` (N,) at `steps` (N,), both above 0, the steps rising.

    Raises ValueError for fewer than 3 points (4 with a floor), and for values that have no logarithm.
    """
    step_N, value_N = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    count = 3 if floor else 2
    if len(step_N) != len(value_N) or len(step_N) <= count:
        raise ValueError(f"{len(value_N)} points at {len(step_N)} steps are too few for {count} parameters; wait.")
    if not (step_N.min() > 0 and value_N.min() > 0):
        raise ValueError("a power law needs steps and values above 0; leave the others out.")
    floor_F = (FLOORS if floor else FLOORS[:1]) * value_N.min()
    slope_F, intercept_F = _lines(np.log(step_N), np.log(value_N - floor_F[:, None]))
    fitted_FN = floor_F[:, None] + np.exp(intercept_F[:, None] + slope_F[:, None] * np.log(step_N))
    error_FN = np.log(value_N) - np.log(fitted_FN)
    best = int(np.abs(error_FN).sum(1).argmin())
    law = float(floor_F[best]), math.exp(intercept_F[best]), -float(slope_F[best])
    freedom = len(step_N) - count
    spread = OF_NORMAL * float(np.median(np.abs(error_FN[best]))) * math.sqrt(len(step_N) / freedom)
    jacobian_NP = _jacobian(*law, step_N)[:, :count]
    # The floor and the exponent can hardly be told apart in a short run: a pseudo-inverse does not mind.
    return PowerLaw(*law, spread, np.linalg.pinv(jacobian_NP.T @ jacobian_NP), freedom)


def left_law(
    steps: ArrayLike, values: ArrayLike, *, sigmas: float = 3.0, patience: int = 3, least: float = 0.03
) -> Break | None:
    """Whether the last `patience` of the values (N,) lie above what the first half of the run predicts (eq. 4).

    None where they do not, and for a run with fewer than `LEAST_POINTS`.
    """
    step_N, value_N = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(value_N) < LEAST_POINTS:
        return None
    fitted = slice(int(WARMUP * len(value_N)), int(FITTED * len(value_N)))
    plain, floored = (fit_power_law(step_N[fitted], value_N[fitted], floor=floor) for floor in (False, True))
    step_R, value_R = step_N[-patience:], value_N[-patience:]
    for law in (plain, floored):
        if not (np.log(value_R / law.at(step_R)) > law.limit(step_R, sigmas=sigmas, least=least)).all():
            return None
    return Break(float(step_R[0]), float(value_R[-1]), float(floored.at(step_R)[-1]), floored)


def blocks(steps: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    """Geometric means of neighbours, fewer than `MOST_POINTS` of them, each over the same power of two of points.

    A law without a floor stays what it is. Points of a block that is not full yet are left out.
    """
    step_N, value_N = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    size = block_size(len(value_N))
    whole = len(value_N) // size * size
    step_B, value_B = (np.exp(np.log(x_N[:whole]).reshape(-1, size).mean(1)) for x_N in (step_N, value_N))
    return step_B, value_B


def block_size(count: int) -> int:
    """Points of one block of `blocks`. It grows where the last block is full, so that between two counts that it
    divides the blocks stay what they are."""
    size = 1
    while count // size >= MOST_POINTS:
        size *= 2
    return size


def _lines(x_N: Floats, y_FN: Floats) -> tuple[Floats, Floats]:
    """Slopes, none above 0, and intercepts (F,) of Theil and Sen."""
    i, j = np.triu_indices(len(x_N), 1)
    slope_F = np.minimum(np.median((y_FN[:, j] - y_FN[:, i]) / (x_N[j] - x_N[i]), axis=1), 0.0)
    return slope_F, np.median(y_FN - slope_F[:, None] * x_N, axis=1)


def _jacobian(floor: float, factor: float, exponent: float, step_N: Floats) -> Floats:
    """Derivatives of ln f (N, 3) by ln C, alpha and the floor."""
    falling_N = factor * step_N**-exponent
    share_N = falling_N / (floor + falling_N)
    return np.stack([share_N, -share_N * np.log(step_N), 1 / (floor + falling_N)], axis=1)
