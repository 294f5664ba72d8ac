"""Orders and micro-batches as pure functions of their arguments, so that resuming needs no state."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from homestretch.seeds import fold


def epoch_order(n: int, *, seed: int, epoch: int) -> list[int]:
    """A permutation of range(n) for one pass over the data."""
    order = list(range(n))
    random.Random(fold("epoch_order", seed, epoch)).shuffle(order)
    return order


def epoch_batch(n: int, size: int, *, seed: int, number: int) -> list[int]:
    """Rows of batch `number`: passes of `epoch_order` cut into batches of `size`, the last of a pass may be smaller."""
    epoch, at = divmod(number, math.ceil(n / size))
    return epoch_order(n, seed=seed, epoch=epoch)[at * size : (at + 1) * size]


def token_budget_batches(lengths: Sequence[int], *, budget: int) -> list[list[int]]:
    """Rows grouped by similar length, longest group first, so that rows x longest <= budget.

    A row longer than the budget gets a group of its own. Every row is in exactly one group.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
