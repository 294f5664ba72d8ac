"""How well values behind every token tell good from bad responses before these have ended (sheet
goal-conditioned-reward 2.4).

    AUROC(p) = area under the ROC curve of v at token max(floor(p n) - 1, 0)                             (1)

n are a response's tokens, end marker included, so that p = 1 judges whole responses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SHARES = tuple(tenth / 10 for tenth in range(11))


def token_at(share: float, tokens: int) -> int:
    """Index of the token that ends this share of a response, 0 to tokens - 1."""
    return max(math.floor(share * tokens + 1e-9) - 1, 0)


def partial_auroc(
    values: Sequence[Sequence[float]], good: Sequence[bool], *, shares: Sequence[float] = SHARES
) -> dict[float, float]:
    """Eq. 1 at each share. `values` are one list a response, none of them empty; some must be good and some not."""
    from sklearn.metrics import roc_auc_score  # two seconds to import

    return {share: float(roc_auc_score(good, [row[token_at(share, len(row))] for row in values])) for share in shares}


class Bin(NamedTuple):
    """Responses with similar values: their mean value, the share of good ones, and their number."""

    value: float
    good: float
    n: int


def reliability(values: Sequence[float], good: Sequence[bool], *, bins: int = 10) -> list[Bin]:
    """Bins of equally many responses by rising value; fewer where there are fewer responses."""
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    value, is_good = np.asarray(values, dtype=float), np.asarray(good, dtype=float)
    return [Bin(float(value[part].mean()), float(is_good[part].mean()), len(part)) for part in parts]
