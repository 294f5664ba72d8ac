"""Reward over-optimisation: what a reward becomes with the distance from the start, and where it peaks.

    d = sqrt(KL(p || p_0)),   KL in nats a sequence                                                      (1)
    best_of_n    R = R_0 + d (alpha - beta d)         peak  d* = alpha / (2 beta)                        (2)
    rl           R = R_0 + d (alpha - beta ln d)      peak  d* = exp(alpha / beta - 1)                   (3)

(Gao, Schulman and Hilton 2022, "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760; teacher-hacking
sheet 4.) Least squares; there is a peak where beta > 0 and, in eq. 2, alpha > 0. A law is refused where an F test
does not find it better than a constant.

    fall  = mean of R at the M rounds nearest to d* - mean of R at the last M rounds,   M = N / 8        (4)
    alarm = fall > max(k s sqrt(2 / M), least (R(d*) - R_0)), and d > d* at the last M rounds           (5)

with s the standard deviation about the law. A parabola through a curve that only levels off has a peak too, so that
the peak alone is no alarm: the reward itself must have fallen since. Which form holds is not known beforehand: eq. 5
must be true of both.

Deviations  1. Gao et al. subtract the reward of the start policy; R_0 is fitted here, since one rollout is noise.
            2. They fit golden rewards; eq. 5 may be asked of any reward, and says whose peak it is.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc, xlogy

Floats = NDArray[np.float64]
Form = Literal["best_of_n", "rl"]
FORMS: tuple[Form, Form] = ("best_of_n", "rl")
LEAST_ROUNDS = 12
NO_BETTER = 0.01
"""Probability of as good a fit by chance from which on a law is refused."""


class Law(NamedTuple):
    """Eq. 2 or 3 as fitted; `spread` is s, in units of reward."""

    form: Form
    start: float
    alpha: float
    beta: float
    spread: float

    @property
    def peak(self) -> float | None:
        """d* in square roots of nats, or None where the law has no peak."""
        if self.beta <= 0 or (self.form == "best_of_n" and self.alpha <= 0):
            return None
        return self.alpha / (2 * self.beta) if self.form == "best_of_n" else _exp(self.alpha / self.beta - 1)

    def at(self, distance: ArrayLike) -> Floats:
        """R(d)."""
        columns_N2 = _columns(np.asarray(distance, dtype=np.float64), self.form)
        return np.asarray(self.start + columns_N2 @ np.array([self.alpha, -self.beta]))


class Turn(NamedTuple):
    """A reward behind its peak: KL of the peak and of now in nats, mean reward then and now, and the law."""

    peak_kl: float
    kl: float
    highest: float
    last: float
    law: Law


def fit_law(kl: ArrayLike, reward: ArrayLike, *, form: Form) -> Law | None:
    """The law of `reward` (N,) by `kl` (N,) in nats; None where it is no better than a constant.

    Estimates of the divergence below 0 count as 0. Raises ValueError for fewer than 4 rounds.
    """
    distance_N, reward_N = _distance(kl), np.asarray(reward, dtype=np.float64)
    if len(reward_N) < 4 or len(reward_N) != len(distance_N):
        raise ValueError(f"{len(reward_N)} rewards of {len(distance_N)} rounds are too few for 3 parameters; wait.")
    design_N3 = np.column_stack([np.ones_like(distance_N), _columns(distance_N, form)])
    found_3, _, rank, _ = np.linalg.lstsq(design_N3, reward_N, rcond=None)
    left = float(np.square(reward_N - design_N3 @ found_3).sum())
    constant = float(np.square(reward_N - reward_N.mean()).sum())
    freedom = len(reward_N) - 3
    if rank < 3 or constant <= 0:
        return None
    # The rest of an exact fit is rounding, and may be 0.
    ratio = (constant - left) / 2 / max(left / freedom, 1e-12 * constant)
    if fdtrc(2, freedom, max(ratio, 0.0)) > NO_BETTER:
        return None
    start, alpha, minus_beta = found_3.tolist()
    return Law(form, start, alpha, -minus_beta, math.sqrt(left / freedom))


def turned(kl: ArrayLike, reward: ArrayLike, *, sigmas: float = 3.0, least: float = 0.1) -> Turn | None:
    """Eq. 5 for the rounds (N,) of a run, with the form that fits better, or None.

    None too for fewer than `LEAST_ROUNDS`, and where a form is refused or has no peak.
    """
    distance_N, reward_N = _distance(kl), np.asarray(reward, dtype=np.float64)
    if len(reward_N) < LEAST_ROUNDS:
        return None
    laws = [law for form in FORMS if (law := fit_law(kl, reward, form=form)) is not None]
    turns = [turn for law in laws if (turn := _turn(law, distance_N, reward_N, sigmas=sigmas, least=least))]
    return min(turns, key=lambda turn: turn.law.spread) if len(turns) == len(FORMS) else None


def _turn(law: Law, distance_N: Floats, reward_N: Floats, *, sigmas: float, least: float) -> Turn | None:
    recent = max(len(reward_N) // 8, 3)
    if law.peak is None or not (distance_N[-recent:] > law.peak).all():
        return None
    nearest = np.argsort(np.abs(distance_N - law.peak), kind="stable")[:recent]
    highest, last = float(reward_N[nearest].mean()), float(reward_N[-recent:].mean())
    rise = float(law.at([law.peak])[0]) - law.start
    if highest - last <= max(sigmas * law.spread * math.sqrt(2 / recent), least * rise):  # eq. 5
        return None
    return Turn(law.peak**2, float(np.square(distance_N[-recent:]).mean()), highest, last, law)


def _distance(kl: ArrayLike) -> Floats:
    return np.sqrt(np.maximum(np.asarray(kl, dtype=np.float64), 0.0))


def _columns(distance_N: Floats, form: Form) -> Floats:
    """What alpha and -beta are multiplied by (N, 2)."""
    second_N = np.square(distance_N) if form == "best_of_n" else xlogy(distance_N, distance_N)
    return np.column_stack([distance_N, second_N])


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
