"""How far a stage has come: by its rounds, or by what it may spend."""

from __future__ import annotations

from collections.abc import Mapping

PARTS = 4
"""Validations of a stage that has a budget and no `eval_steps`."""


def share_done(until: Mapping[str, float], spent: Mapping[str, float], *, rounds: int) -> float:
    """Share of a stage that is behind it; from 1 on the stage is over.

    `until` are its limits by unit, and the unit of which most is used counts; without limits its `rounds` do. `spent`
    holds `round` and every unit.
    """
    limits = until or {"round": rounds}
    return max(spent[unit] / limit for unit, limit in limits.items())


def expected_rounds(until: Mapping[str, float], share: float, *, done: int, rounds: int) -> float:
    """Rounds of the whole stage: `rounds`, or with limits those that the pace of the rounds done so far makes of it."""
    return done / share if until and done else rounds


def ends_a_part(before: float, now: float) -> bool:
    """Whether one of the `PARTS` equal parts of a stage came to its end between two shares."""
    return int(PARTS * now) > int(PARTS * before)
