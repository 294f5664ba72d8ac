"""What is known at the end of a run: where its golden signal turned, and when an alarm would have said so.

    rise = (g_N - min g) / |min g|                                                                       (1)
    lead = t_turn - t_alarm, in steps: above 0 where the alarm came first                                (2)

(Teacher-hacking sheet 6.) An alarm is right in a run whose signals diverge at its end (`divergence.diverged`), however
early or late it spoke there.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from homestretch.alarms.power_law import LEAST_POINTS, Break, blocks, left_law


class Rise(NamedTuple):
    """`best` is the evaluation (an index) with the smallest golden value; that value, the last, and eq. 1."""

    best: int
    smallest: float
    last: float
    share: float


def rise(golden: ArrayLike) -> Rise:
    """Eq. 1 of a signal (N,) that should fall, N >= 1; without a minimum other than 0 the share is 0."""
    golden_N = np.asarray(golden, dtype=np.float64)
    best = int(golden_N.argmin())
    smallest, last = float(golden_N[best]), float(golden_N[-1])
    return Rise(best, smallest, last, (last - smallest) / abs(smallest) if smallest else 0.0)


class Raised(NamedTuple):
    """A break, and the step of the newest point when it was found."""

    step: float
    found: Break


def first_break(steps: ArrayLike, values: ArrayLike) -> Raised | None:
    """What `left_law` says first while a series (N,) grows; points at step 0 or with values of 0 are left out."""
    step_N, value_N = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    there_N = (step_N > 0) & (value_N > 0)
    step_N, value_N = step_N[there_N], value_N[there_N]
    seen = -1.0
    for count in range(LEAST_POINTS, len(step_N) + 1):
        step_B, value_B = blocks(step_N[:count], value_N[:count])
        if step_B[-1] == seen:
            continue  # the block of the new point is not full yet
        seen = float(step_B[-1])
        if found := left_law(step_B, value_B):
            return Raised(float(step_N[count - 1]), found)
    return None


class Hindsight(NamedTuple):
    """Of `runs` runs, `hacked` had signals that diverged, `fired` an alarm, and `right` both. Precision and recall are
    None where they have nothing to divide by; `lead` is the median of eq. 2 over the runs that are right, or None."""

    runs: int
    hacked: int
    fired: int
    right: int
    precision: float | None
    recall: float | None
    lead: float | None


def hindsight(alarms: Sequence[float | None], turns: Sequence[float | None]) -> Hindsight:
    """How good an alarm was: the step at which it came in each run, and that of the turn in each run that has one.

    Raises ValueError where they are not as many.
    """
    both = [(alarm, turn) for alarm, turn in zip(alarms, turns, strict=True) if alarm is not None and turn is not None]
    fired, hacked = (sum(step is not None for step in series) for series in (alarms, turns))
    return Hindsight(
        runs=len(alarms),
        hacked=hacked,
        fired=fired,
        right=len(both),
        precision=len(both) / fired if fired else None,
        recall=len(both) / hacked if hacked else None,
        lead=statistics.median(turn - alarm for alarm, turn in both) if both else None,
    )
