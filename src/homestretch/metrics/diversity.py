"""Diversity within a set of outputs, and repetition within one  (distinct-n: Li et al., 2016)

    distinct_n        = distinct n-grams of all outputs / n-grams of all outputs
    repeated_share_n  = 1 - distinct n-grams of one output / its n-grams

distinct-n of a set is a ratio of sums. With c(g) the count of n-gram g in the whole set, output i contributes
sum_{g in i} 1 / c(g) to the numerator and its number of n-grams to the denominator. The value is exactly distinct-n,
and prompts can be resampled; counts c stay those of the whole set, as a resampled duplicate says nothing about
diversity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from homestretch.metrics.base import Column, Floats
from homestretch.metrics.sentences import counted_words


def _ngrams(units: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(units[i:] for i in range(n)), strict=False))


def repeated_share(units: Sequence[str], n: int = 4) -> float:
    """Share, 0 to 1, of n-grams that repeat an earlier one; 0 for fewer than n words."""
    grams = _ngrams(units, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct_column(texts: Sequence[str], n: int = 2) -> Column:
    """distinct-n of a set of outputs, 0 to 1, as contributions of its outputs."""
    grams = [_ngrams(counted_words(text), n) for text in texts]
    count = Counter(g for row in grams for g in row)
    return Column(np.array([[sum(1 / count[g] for g in row), len(row)] for row in grams], dtype=np.float64), _ratio)


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """distinct-n of a set of outputs, 0 to 1; 0 where there is no n-gram."""
    column = distinct_column(texts, n)
    return float(column.finish(column.rows_NK.mean(0), len(texts)))


def _ratio(means: Floats, _n: int) -> Floats:
    return means[..., 0] / np.maximum(means[..., 1], 1e-300)
