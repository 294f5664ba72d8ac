"""Many metrics of an arm at once: one set of bootstrap draws for all of them, paired by answers between arms.

What is resampled are prompts: rows that answer the same one are no independent evidence, and are averaged first.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from homestretch.metrics import better
from homestretch.metrics.base import Column, Finish, Floats, only_column
from homestretch.metrics.front import Covered, covered
from homestretch.metrics.ranking import Ranking, ranking
from homestretch.metrics.stats import (
    RESAMPLES,
    cluster_means,
    flipped_means,
    p_values,
    percentile_interval,
    resampled_means,
    swapped_means,
)
from homestretch.results import Measured


class Difference(NamedTuple):
    """Value of a minus value of b over the same n prompts, its interval and its p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Table:
    """Columns of one arm, a row an id (see `pairing.answers_of`), and the prompt that it answers. A NaN row: the metric
    does not apply to it."""

    ids: tuple[Hashable, ...]
    prompts: tuple[Hashable, ...]
    columns: dict[str, Column]
    lower: frozenset[str] = frozenset()
    """Names of the rewards of which less is better."""

    @classmethod
    def of(
        cls,
        ids: Sequence[Hashable],
        columns: dict[str, Column],
        prompts: Sequence[Hashable] | None = None,
        lower: Iterable[str] = (),
    ) -> Table:
        """Average rows of the same id, leaving out those to which a metric does not apply. Without `prompts` each id is
        one."""
        first: dict[Hashable, Hashable] = {}
        for id_, prompt in zip(ids, ids if prompts is None else prompts, strict=True):
            first.setdefault(id_, prompt)
        if len(first) < len(ids):
            columns = {key: Column(_averaged(c.rows_NK, ids), c.finish) for key, c in columns.items()}
        return cls(tuple(first), tuple(first.values()), columns, frozenset(lower))


def direction(tables: Iterable[Table], key: str) -> bool | None:
    """Whether more of a metric is better in all of these arms; None where neither direction is, or where they differ
    in it."""
    said = {better(key, table.lower) for table in tables}
    return said.pop() if len(said) == 1 else None


def measure(table: Table, *, seed: int, resamples: int = RESAMPLES) -> dict[str, Measured]:
    """Value and 95 % bootstrap interval of every column that applies to at least one row; n counts prompts."""
    found: dict[str, Measured] = {}
    for keep, keys in _same_rows({key: ~np.isnan(c.rows_NK[:, 0]) for key, c in table.columns.items()}):
        block, parts = _stacked([table.columns[key].rows_NK[keep] for key in keys])
        block = _by_prompt(block, table, np.flatnonzero(keep))
        draws, n = resampled_means(block, seed=seed, resamples=resamples), len(block)
        for key, part in zip(keys, parts, strict=True):
            finish = table.columns[key].finish
            low, high = percentile_interval(finish(draws[:, part], n))
            value = float(finish(block[:, part].mean(0), n))
            up = direction([table], key)
            found[key] = Measured(value=value, low=float(low), high=float(high), n=n, higher_is_better=up)
    return {key: found[key] for key in table.columns if key in found}


def compare(a: Table, b: Table, *, seed: int, resamples: int = RESAMPLES) -> dict[str, Difference]:
    """Paired differences a - b of every metric that both have, over the ids that both have."""
    place = {id_: i for i, id_ in enumerate(b.ids)}
    pairs = [(i, place[id_]) for i, id_ in enumerate(a.ids) if id_ in place]
    if not pairs:
        return {}
    rows_a, rows_b = (np.array(column) for column in zip(*pairs, strict=True))
    both = {
        key: (a.columns[key].rows_NK[rows_a], b.columns[key].rows_NK[rows_b]) for key in a.columns if key in b.columns
    }
    found: dict[str, Difference] = {}
    for keep, keys in _same_rows({key: ~np.isnan(x[:, 0] + y[:, 0]) for key, (x, y) in both.items()}):
        first, parts = _stacked([both[key][0][keep] for key in keys])
        second, _ = _stacked([both[key][1][keep] for key in keys])
        first, second = (_by_prompt(block, a, rows_a[keep]) for block in (first, second))
        n = len(first)
        draws = [resampled_means(block, seed=seed, resamples=resamples) for block in (first, second)]
        flips = flipped_means(first - second, seed=seed, resamples=resamples)
        for key, part in zip(keys, parts, strict=True):
            blocks = [first[:, part], second[:, part]]
            finish = a.columns[key].finish
            if finish is only_column:
                swapped = flips[:, part][:, 0]
            else:
                sides = swapped_means(*blocks, seed=seed, resamples=resamples)
                swapped = finish(sides[0], n) - finish(sides[1], n)
            found[key] = _difference(finish, blocks, [d[:, part] for d in draws], swapped)
    return {key: found[key] for key in both if key in found}


def rank(tables: Mapping[str, Table], key: str, *, seed: int, resamples: int = RESAMPLES) -> tuple[list[str], Ranking]:
    """The arms in order of one metric, the best first, and how sure that is, over the ids that all of them have.

    Raises ValueError where the metric applies to no row of all arms, or where neither direction is better.
    """
    value_M1, draws_RM1 = _over_common_rows(tables, [key], seed=seed, resamples=resamples)
    made = ranking(value_M1[:, 0], draws_RM1[:, :, 0])
    return [list(tables)[i] for i in made.order], made


def front(
    tables: Mapping[str, Table],
    keys: Sequence[str],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    seed: int,
    resamples: int = RESAMPLES,
) -> Covered:
    """Which arms no other beats in all of the metrics, and what they and groups of them cover, over the ids that all
    have all of.

    A metric of which less is better counts with the other sign. Raises ValueError as `rank`.
    """
    arms = list(tables)
    places = {name: [arms.index(arm) for arm in members] for name, members in (groups or {}).items()}
    return covered(*_over_common_rows(tables, keys, seed=seed, resamples=resamples), places)


def _over_common_rows(
    tables: Mapping[str, Table], keys: Sequence[str], *, seed: int, resamples: int
) -> tuple[Floats, Floats]:
    """Values (M, K) of the arms and bootstrap draws (R, M, K) of the same, larger being better."""
    places = [
        {id_: i for i, id_ in enumerate(t.ids) if not any(np.isnan(t.columns[key].rows_NK[i, 0]) for key in keys)}
        for t in tables.values()
    ]
    common = [id_ for id_ in places[0] if all(id_ in other for other in places)]
    if not common:
        raise ValueError(f"{' and '.join(f'`{key}`' for key in keys)} applies to no row that all arms have.")
    ups = [direction(tables.values(), key) for key in keys]
    if None in ups:
        raise ValueError(f"neither direction of `{keys[ups.index(None)]}` is better.")
    signs = [1 if up else -1 for up in ups]
    cells = [
        (table.columns[key], [place[id_] for id_ in common])
        for table, place in zip(tables.values(), places, strict=True)
        for key in keys
    ]
    block, parts = _stacked([column.rows_NK[rows] for column, rows in cells])
    block = _by_prompt(block, next(iter(tables.values())), cells[0][1])
    draws, n, shape = resampled_means(block, seed=seed, resamples=resamples), len(block), (len(tables), len(keys))
    finished = [column.finish for column, _ in cells]
    value = [finish(block[:, part].mean(0), n) for finish, part in zip(finished, parts, strict=True)]
    drawn = [finish(draws[:, part], n) for finish, part in zip(finished, parts, strict=True)]
    return np.array(value).reshape(shape) * signs, np.stack(drawn, axis=1).reshape(-1, *shape) * signs


def _difference(finish: Finish, blocks: list[Floats], draws: list[Floats], swapped: Floats) -> Difference:
    n, means = len(blocks[0]), [block.mean(0) for block in blocks]
    observed = float(finish(means[0], n) - finish(means[1], n))
    low, high = percentile_interval(finish(draws[0], n) - finish(draws[1], n))
    return Difference(observed, float(low), float(high), float(p_values(observed, swapped, n=n)), n)


def _by_prompt(block: Floats, table: Table, rows: Sequence[int] | np.ndarray) -> Floats:
    """The rows of a block, which are these rows of the table, averaged over each prompt."""
    return cluster_means(block, [table.prompts[i] for i in rows])


def _same_rows(present: dict[str, np.ndarray]) -> list[tuple[np.ndarray, list[str]]]:
    """Keys grouped by the rows they apply to; keys that apply to none are left out."""
    groups: dict[bytes, tuple[np.ndarray, list[str]]] = {}
    for key, keep in present.items():
        if keep.any():
            groups.setdefault(keep.tobytes(), (keep, []))[1].append(key)
    return list(groups.values())


def _stacked(blocks: Sequence[Floats]) -> tuple[Floats, list[slice]]:
    ends = np.cumsum([block.shape[1] for block in blocks])
    return np.concatenate(blocks, axis=1), [slice(e - b.shape[1], e) for e, b in zip(ends, blocks, strict=True)]


def _averaged(rows_NK: Floats, ids: Sequence[Hashable]) -> Floats:
    applies = ~np.isnan(rows_NK)
    sums = cluster_means(np.where(applies, rows_NK, 0.0), ids)
    share = cluster_means(applies, ids)
    return np.where(share > 0, sums / np.where(share > 0, share, 1.0), np.nan)
