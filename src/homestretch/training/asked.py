"""When the run doctor asks what: a check or an alarm sees only the rows that it reads, and is asked only where its
answer may change.

A stage may have a hundred thousand rows. Asked about all of them at each, the doctor would take longer than training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from homestretch.alarms.power_law import block_size
from homestretch.training.alarms import ALARMS, KL, Said, Watched, is_point

Row = dict[str, Any]
ENDS = 10
"""Rows at either end of a series that checks of a single key look at."""


@dataclass
class Asked:
    """A check or an alarm in a stage: it keeps the rows that it `keeps` and is asked about them where it is `due`, at
    a row that is the so-manieth kept."""

    ask: Callable[[list[Row]], Said]
    keeps: Callable[[Row], bool]
    due: Callable[[Row, int], bool] = lambda row, count: True
    rows: list[Row] = field(default_factory=list)
    said: Said = field(default_factory=dict)

    def see(self, row: Row) -> Said:
        """What it says after one more row."""
        if self.keeps(row):
            self.rows.append(row)
            if self.due(row, len(self.rows)):
                self.said = self.ask(self.rows)
        return self.said


def has(*keys: str) -> Callable[[Row], bool]:
    """Whether a row has a value for one of the keys."""
    return lambda row: any(row.get(key) is not None for key in keys)


def at_ends(ask: Callable[[list[Row]], Said]) -> Callable[[list[Row]], Said]:
    """The same of the first and the last rows alone."""
    return lambda rows: ask(rows[:ENDS] + rows[max(len(rows) - ENDS, ENDS) :])


def alarms(seen: Watched) -> Iterator[tuple[str, Asked]]:
    """The alarms of a stage by name, one for each signal."""
    for key in seen.curves:
        yield "power_law", _asked("power_law", Watched(curves=(key,)), _is_point(key), _at_block)
    for pair in seen.goldens:
        proxies, goldens = zip((pair.proxy, pair.golden), *([pair.finite] if pair.finite else []), strict=True)
        yield "golden_signal", _asked("golden_signal", Watched(goldens=(pair,)), has(*proxies, *goldens), _at(*goldens))
    if seen.gap:
        keys = seen.gap.training, seen.gap.same
        yield "generalisation_gap", _asked("generalisation_gap", Watched(gap=seen.gap), has(*keys), _at(seen.gap.same))
    for key in seen.rewards:
        yield "over_optimisation", _asked("over_optimisation", Watched(rewards=(key,)), has(key, KL), _at(key))


def _asked(name: str, seen: Watched, keeps: Callable[[Row], bool], due: Callable[[Row, int], bool]) -> Asked:
    return Asked(lambda rows: ALARMS[name](rows, seen), keeps, due)


def _is_point(key: str) -> Callable[[Row], bool]:
    return lambda row: row.get(key) is not None and is_point(row["step"], row[key])


def _at_block(_: Row, n: int) -> bool:
    return n % block_size(n) == 0


def _at(*keys: str) -> Callable[[Row, int], bool]:
    return lambda row, _: has(*keys)(row)
