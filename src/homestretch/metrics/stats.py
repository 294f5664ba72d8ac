"""Intervals and tests: bootstrap, sign-flip permutation, Wilson  (section 2.9 of the last-mile sheet)

    bootstrap     resample the n prompts with replacement, 10,000 times; the 95 % interval is the 2.5 % to 97.5 %
                  percentiles of the resampled means
    paired        the same on differences d_i = a_i - b_i of the same prompts
    permutation   random signs: p = (1 + #{|mean(+-d)| >= |mean d|}) / (1 + 10,000); with n <= 15 all 2^n sign
                  patterns: p = count / 2^n
    swaps         the same for a value that is no mean: outputs change arms where the sign is -1
    Wilson        interval of a rate, sensible near 0 and 1

Scores may be a matrix (n prompts, k columns): every column is then resampled with the same draws, and the draws for
an (n, seed) are made once and kept, so that many metrics cost little more than one. Several outputs of one prompt
are not independent: average them first (`cluster_means`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
RESAMPLES = 10_000
EXACT_UP_TO = 15
CHUNK = 1_000


class Interval(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


def resampled_means(columns: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Means of `resamples` bootstrap samples: (n, k) to (resamples, k), or (n,) to (resamples,)."""
    values = _checked(columns)
    counts = _draws(len(values), resamples, seed)
    parts = [counts[i : i + CHUNK] @ values for i in range(0, resamples, CHUNK)]
    return np.concatenate(parts) / len(values)


def flipped_means(differences: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Means under random signs, (n, k) to (resamples, k); all 2^n sign patterns if n <= 15."""
    values = _checked(differences)
    signs = _signs(len(values), resamples, seed)
    parts = [signs[i : i + CHUNK] @ values for i in range(0, len(signs), CHUNK)]
    return np.concatenate(parts) / len(values)


def swapped_means(
    first: ArrayLike, second: ArrayLike, *, seed: int, resamples: int = RESAMPLES
) -> tuple[Floats, Floats]:
    """Means of both arms, (n, k) to (resamples, k) each, where the rows of a negative sign have changed sides.

    Sums of the rows themselves: a mean of nothing but zeros is zero, which a difference of sums need not be.
    """
    values = np.concatenate([_checked(first), _checked(second)], axis=1)
    n, k = len(values), values.shape[1] // 2
    signs = _signs(n, resamples, seed)
    keeps = [(signs[i : i + CHUNK] > 0).astype(np.float64) for i in range(0, len(signs), CHUNK)]
    kept = np.concatenate([keep @ values for keep in keeps]) / n
    gone = np.concatenate([(1 - keep) @ values for keep in keeps]) / n
    return kept[:, :k] + gone[:, k:], gone[:, :k] + kept[:, k:]


def percentile_interval(samples: Floats, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper percentiles over the first axis, leaving (1 - level) / 2 outside on each side."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def bootstrap_mean(scores: ArrayLike, *, seed: int, resamples: int = RESAMPLES, level: float = 0.95) -> Interval:
    """Mean of (n,) scores with its bootstrap interval. Raises ValueError without scores or with a non-finite one."""
    values = _checked(scores)
    low, high = percentile_interval(resampled_means(values, seed=seed, resamples=resamples), level=level)
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, *, seed: int, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Mean of a_i - b_i with its bootstrap interval; `a` and `b` are (n,) scores of the same prompts in one order."""
    return bootstrap_mean(_paired(a, b), seed=seed, resamples=resamples, level=level)


def paired_permutation(a: ArrayLike, b: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> float:
    """Two-sided p-value of mean(a_i - b_i) = 0 by sign flips; exact if n <= 15."""
    differences = _paired(a, b)
    return float(
        p_values(differences.mean(), flipped_means(differences, seed=seed, resamples=resamples), n=len(differences))
    )


def p_values(observed: ArrayLike, flipped: Floats, *, n: int) -> Floats:
    """Share of `flipped` (N, ...) at least as far from 0 as `observed` (...); the observed one counts if N is a sample.

    `n`: number of prompts, which tells a sample of sign patterns from all of them. Raises ValueError for a number that
    is not finite, which would count as near 0.
    """
    if not (np.isfinite(observed).all() and np.isfinite(flipped).all()):
        raise ValueError("differences must be finite numbers.")
    limit = np.abs(observed)
    # Sums of the same numbers in another order differ in the last bits, and ties must count.
    count = (np.abs(flipped) >= limit - 1e-9 * np.maximum(limit, 1e-9)).sum(0)
    return count / len(flipped) if n <= EXACT_UP_TO else (1 + count) / (1 + len(flipped))


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Rate successes / n with Wilson's score interval; a success may count in part. Raises ValueError if n is 0."""
    if n == 0:
        raise ValueError("a rate of 0 outputs is not defined.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Interval(rate, max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half)))


def cluster_means(scores: ArrayLike, clusters: Sequence[Hashable]) -> Floats:
    """Average the scores, (n,) or (n, k), that share a cluster; one row a cluster, in order of first appearance."""
    values = np.asarray(scores, dtype=np.float64)
    numbers = {c: i for i, c in enumerate(dict.fromkeys(clusters))}
    row = np.fromiter((numbers[c] for c in clusters), dtype=np.intp, count=len(clusters))
    sums = np.zeros((len(numbers), *values.shape[1:]))
    np.add.at(sums, row, values)
    return sums / np.bincount(row).reshape(-1, *[1] * (values.ndim - 1))


@lru_cache(maxsize=2)
def _draws(n: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """How often each bootstrap sample holds each prompt, (resamples, n). Counts are exact in float32."""
    rng = np.random.default_rng([seed, n, 0])
    counts = np.empty((resamples, n), dtype=np.float32)
    for i in range(resamples):
        counts[i] = np.bincount(rng.integers(0, n, n), minlength=n)
    return counts


def _signs(n: int, resamples: int, seed: int) -> NDArray[np.float32]:
    return _all_signs(n) if n <= EXACT_UP_TO else _random_signs(n, resamples, seed)


@lru_cache(maxsize=2)
def _random_signs(n: int, resamples: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, n, 1])
    return (2 * rng.integers(0, 2, (resamples, n), dtype=np.int8) - 1).astype(np.float32)


@lru_cache(maxsize=EXACT_UP_TO)
def _all_signs(n: int) -> NDArray[np.float32]:
    bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return (2 * bits - 1).astype(np.float32)


def _checked(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("there are no scores to average.")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite numbers.")
    return values


def _paired(a: ArrayLike, b: ArrayLike) -> Floats:
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        raise ValueError(f"paired scores must be of the same prompts; there are {len(first)} and {len(second)}.")
    return first - second
