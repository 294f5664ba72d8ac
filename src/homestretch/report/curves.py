"""Which training curves the page shows, and where the run doctor's sentences belong in them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from homestretch.report.charts import Lines, Mark
from homestretch.report.names import METRICS
from homestretch.report.read import Row, StageView
from homestretch.results import Selection

MAX_PANELS = 9
MAX_POINTS = 200
MAX_SENTENCES = 9
ALARM = re.compile(r"Alarm \(([a-z -]{1,30})\)")
"""How a sentence of an alarm starts."""
# What a reader looks for first; a key belongs to the first word it contains.
_FIRST = ("la_rouge", "accuracy", "auroc", "reward", "kl", "unfinished", "clipped_ratio", "length", "entropy", "loss")
_LAST = (
    "_std",
    "_coef",
    "approxkl",
    "grad_norm",
    "learning_rate",
    "lr",
    "tokens",
    "epoch",
    "memory",
    "throughput",
    "per_second",
)


@dataclass(frozen=True)
class Panel:
    """One chart: a quantity while training and, where there is one, on validation."""

    key: str
    lines: list[Lines]
    best: tuple[float, float] | None


@dataclass(frozen=True)
class Remark:
    """A sentence of the run doctor, with the step it was first said at and how often it came. An `alarm` has a name,
    and `steps` are all at which it came."""

    number: int
    step: int | None
    sentence: str
    times: int
    alarm: str | None = None
    steps: tuple[int, ...] = ()


def panels(stage: StageView, selection: list[Selection]) -> tuple[list[Panel], list[str]]:
    """At most `MAX_PANELS` charts of a stage, most telling first, and the keys that got none."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in stage.rows:
        for key, value in numbers(row):
            base = key.removeprefix("eval/")
            name = "validation" if key.startswith("eval/") else "training"
            found.setdefault(base, {}).setdefault(name, []).append((row["step"], value))
    varied = {key: lines for key, lines in found.items() if any(len({y for _, y in p}) > 1 for p in lines.values())}
    keys = sorted(varied, key=_rank)
    chosen = selection_of(stage, selection)
    shown = []
    for key in keys[:MAX_PANELS]:
        lines = [_line(name, points) for name, points in sorted(varied[key].items())]
        at = chosen.metric.removeprefix("eval/") == key if chosen else False
        shown.append(Panel(key, lines, (chosen.step, chosen.value) if chosen and at else None))
    return shown, sorted(set(found) - set(keys[:MAX_PANELS]))


def remarks(stage: StageView) -> list[Remark]:
    """The doctor's sentences in order, those that differ by their numbers only taken together."""
    groups: dict[str, list[tuple[int | None, str]]] = {}
    for step, sentence in stage.doctor:
        groups.setdefault(re.sub(r"[\d.,+-]+", "0", sentence), []).append((step, sentence))
    return [_remark(i, said) for i, said in enumerate(list(groups.values())[:MAX_SENTENCES], 1)]


def marks(said: list[Remark]) -> list[Mark]:
    """Where the sentences stand in the curves: the first of each kind, and each of an alarm's."""
    places = [(r, r.steps if r.alarm else r.steps[:1]) for r in said]
    return [Mark(step, r.number, r.alarm) for r, steps in places for step in steps]


def selection_of(stage: StageView, selection: list[Selection]) -> Selection | None:
    """How the checkpoint of this stage was chosen, if that is recorded."""
    return next((s for s in selection if s.stage in (stage.label, stage.record.name)), None)


def _remark(number: int, said: list[tuple[int | None, str]]) -> Remark:
    step, sentence = said[0]
    named = ALARM.match(sentence)
    steps = tuple(step for step, _ in said if step is not None)
    return Remark(number, step, sentence, len(said), named[1] if named else None, steps)


def numbers(row: Row) -> list[tuple[str, float]]:
    """What can be drawn of a row, by key."""
    skip = {"step", "seconds", "doctor"}
    return [
        (key, float(value))
        for key, value in row.items()
        if key not in skip and isinstance(value, int | float) and not isinstance(value, bool) and _drawable(value)
    ]


def thinned(values: list[float], most: int) -> list[float]:
    """Means of neighbours, at most so many."""
    size = math.ceil(len(values) / most)
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    return [sum(group) / len(group) for group in groups]


def _drawable(value: float) -> bool:
    return abs(value) < 1e15 and math.isfinite(value)


def _rank(key: str) -> tuple[int, str]:
    low = key.lower()
    if low == "loss":
        return (-1, key)
    if any(word in low for word in _LAST):
        return (len(_FIRST) + 2, key)
    place = next((i for i, word in enumerate(_FIRST) if word in low), len(_FIRST) + (key not in METRICS))
    return (place, key)


def _line(name: str, points: list[tuple[float, float]]) -> Lines:
    xs, ys = (thinned([point[i] for point in points], MAX_POINTS) for i in range(2))
    held_out = name == "validation"
    return Lines(name, xs, ys, series=2 if held_out else 1, dots=held_out and len(xs) <= 40)
