"""Diversity within a set of outputs, and repetition within one  (distinct-n: Li et al., 2016)

    distinct_n        = distinct n-grams of a set / n-grams of the set, an output a prompt
    repeated_share_n  = 1 - distinct n-grams of one output / its n-grams

distinct-n of a set is a ratio of sums. With c(g) the count of n-gram g in the whole set, output i contributes
sum_{g in i} 1 / c(g) to the numerator and its number of n-grams to the denominator. The value is exactly distinct-n,
and prompts can be resampled; counts c stay those of the whole set, as a resampled duplicate says nothing about
diversity.

Where prompts have several outputs, of several seeds say, there are several sets: the k-th has the k-th output of each
prompt, or its last one where there are fewer. An output is counted within the set in which it comes first, and a prompt
contributes the mean of its outputs: writing the same for every seed is not less diverse than writing it for one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from homestretch.metrics.base import Column, Floats
from homestretch.metrics.sentences import counted_words


def _ngrams(units: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(units[i:] for i in range(n)), strict=False))


def repeated_share(units: Sequence[str], n: int = 4) -> float:
    """Share, 0 to 1, of n-grams that repeat an earlier one; 0 for fewer than n words."""
    grams = _ngrams(units, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct_column(texts: Sequence[str], n: int = 2, *, prompts: Sequence[Hashable] | None = None) -> Column:
    """distinct-n, 0 to 1, as contributions of the outputs. Without `prompts` each output is of another one."""
    grams = [_ngrams(counted_words(text), n) for text in texts]
    rows_NK: Floats = np.zeros((len(grams), 2))
    count: Counter[tuple[str, ...]] = Counter()
    for entering in _sets(range(len(texts)) if prompts is None else prompts):
        for row, before in entering:
            count.update(grams[row])
            count.subtract([] if before is None else grams[before])
        for row, _ in entering:
            rows_NK[row] = sum(1 / count[g] for g in grams[row]), len(grams[row])
    return Column(rows_NK, _ratio)


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """distinct-n of a set of outputs, 0 to 1; 0 where there is no n-gram."""
    column = distinct_column(texts, n)
    return float(column.finish(column.rows_NK.mean(0), len(texts)))


def _sets(prompts: Sequence[Hashable]) -> list[list[tuple[int, int | None]]]:
    """The outputs that come into each set, and the one of the same prompt whose place each takes."""
    found: list[list[tuple[int, int | None]]] = []
    rows: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(prompts):
        own = rows.setdefault(prompt, [])
        if len(own) == len(found):
            found.append([])
        found[len(own)].append((row, own[-1] if own else None))
        own.append(row)
    return found


def _ratio(means: Floats, _n: int) -> Floats:
    return means[..., 0] / np.maximum(means[..., 1], 1e-300)
