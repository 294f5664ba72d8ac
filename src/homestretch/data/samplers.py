"""Orders as pure functions of their arguments, so that resuming needs no state."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

from homestretch.seeds import fold


def epoch_order(n: int, *, seed: int, epoch: int) -> list[int]:
    """A permutation of range(n) for one pass over the data."""
    order = list(range(n))
    random.Random(fold("epoch_order", seed, epoch)).shuffle(order)
    return order


def epoch_batches(groups: Sequence[Hashable], size: int, *, seed: int) -> Callable[[int], list[int]]:
    """Rows of each batch by its number: passes over all rows cut into batches of `size`, the last of a pass may be
    smaller.

    `groups[i]` names the group of row i, its own number where there are none. Groups are shuffled by `epoch_order`, and
    their rows stay side by side; a group may be cut by the end of a batch. The order of the pass that was asked for
    last is kept, so that only the first batch of a pass costs more than its own rows.
    """
    rows: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        rows.setdefault(group, []).append(i)
    members = list(rows.values())

    @lru_cache(maxsize=1)
    def order(epoch: int) -> list[int]:
        return [i for g in epoch_order(len(members), seed=seed, epoch=epoch) for i in members[g]]

    def batch(number: int) -> list[int]:
        epoch, at = divmod(number, math.ceil(len(groups) / size))
        return order(epoch)[at * size : (at + 1) * size]

    return batch


def priority_batch(weights: Sequence[float], size: int, *, seed: int, number: int) -> list[int]:
    """Rows of batch `number`, drawn with replacement in proportion to their weights.

    Weights are at least 0 and not all 0; a row of weight 0 is never drawn. Rows that are drawn more than once stand
    more than once.
    """
    return random.Random(fold("priority_batch", seed, number)).choices(range(len(weights)), weights=weights, k=size)
