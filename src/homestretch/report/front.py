"""The front of a comparison: its sentence, its table, and a drawing for each pair of objectives."""

from __future__ import annotations

from collections.abc import Callable

from homestretch.compared import Compared, Front
from homestretch.report import charts
from homestretch.report.figures import Chart, Key
from homestretch.report.names import decimals, listed, metric_label, number
from homestretch.report.table import Line, failure_line, metric_line, plain_cell
from homestretch.results import Arm, Measured

Rows = list[list[str]]


def sentence(record: Compared) -> str:
    """Which methods are on the front, and what the set covers; nothing without a front."""
    front = record.front
    if front is None:
        return ""
    beaten = [name for name in record.arms if "@" not in name and name not in front.members]
    objectives = listed([metric_label(key) for key in front.objectives])
    are = "is" if len(beaten) == 1 else "are"
    left = f"{_quoted(beaten)} {are} beaten: another is nowhere worse, and better in one of them. " if beaten else ""
    corner = listed([f"{metric_label(k)} {number(v, decimals([v]))}" for k, v in front.reference.items()])
    return (
        f"On the front of {objectives}: {_quoted(front.members)}. {left}The hypervolume above {corner} is "
        f"{_with_interval(front.hypervolume)}."
    ) + "".join(part(front) for part in (_of_families, _of_soups))


def _of_families(front: Front) -> str:
    """What each recipe's methods cover alone, and where that tells two recipes apart."""
    if not front.families:
        return ""
    alone = listed([f"`{name}` {_with_interval(family.hypervolume)}" for name, family in front.families.items()])
    larger = [(d.a, d.b) if d.low > 0 else (d.b, d.a) for d in front.differences if d.low > 0 or d.high < 0]
    apart = listed([f"`{a}` than `{b}`" for a, b in larger])
    told = f"It is larger of {apart}" if larger else "The intervals of all differences include zero"
    return f" Alone above that corner: {alone}. {told}."


def _of_soups(front: Front) -> str:
    """How far each mixture of models reaches beyond the trained ones."""
    if not front.soups:
        return ""
    added = listed([f"`{name}` {_with_interval(volume)}" for name, volume in front.soups.items()])
    return f" Mixtures add to the hypervolume of the trained models: {added}."


def _with_interval(volume: Measured) -> str:
    digits = decimals([volume.value, volume.low, volume.high])
    value, low, high = (number(v, digits) for v in (volume.value, volume.low, volume.high))
    return f"{value} (95 % interval {low} to {high})"


def front_table(record: Compared) -> Rows:
    """A row a method: its objectives, KL to the start where it was measured, and whether it is on the front."""
    front = record.front
    if front is None:
        return []
    arms = {name: arm for name, arm in record.arms.items() if "@" not in name}
    lines = [_line(arms, key) for key in front.objectives]
    sampled = {name: record.arms[f"{name}@t1"] for name in arms if f"{name}@t1" in record.arms}
    if sampled.keys() == arms.keys() and any("kl" in arm.metrics for arm in sampled.values()):
        lines.append(metric_line(sampled, "kl"))
    rows = [
        [name, *(plain_cell(line.cells[i]) for line in lines), "yes" if name in front.members else "no"]
        for i, name in enumerate(arms)
    ]
    return [["method", *(line.label for line in lines), "on the front"], *rows]


def front_charts(record: Compared, series_of: Callable[[Compared, str], int]) -> list[Chart | None]:
    """The first objective against each of the others."""
    front = record.front
    if front is None:
        return []
    first, *others = front.objectives
    return [_chart(record, front, other, first, series_of) for other in others]


def _chart(
    record: Compared, front: Front, across: str, up: str, series_of: Callable[[Compared, str], int]
) -> Chart | None:
    names = [name for name in record.arms if "@" not in name]
    families = list(front.families)
    family_of = {method: name for name, family in front.families.items() for method in family.methods}
    spots, keys = [], {}
    for name in names:
        x, y = _measured(record, name, across), _measured(record, name, up)
        if x and y:
            family = family_of.get(name)
            # One colour a recipe, and only the weight beside its points: five names of five recipes hide each other.
            series = series_of(record, name) if family is None else 1 + families.index(family) % (charts.SERIES - 1)
            label = name if family is None else name.removeprefix(f"{family}-")
            spots.append(charts.Spot(label, x, y, series, hollow=name not in front.members))
            keys[family or name] = series
    title = f"{metric_label(up)} against {metric_label(across)}"
    svg = charts.scatter_chart(
        spots, label=f"{title}, with 95 % intervals", x_label=metric_label(across), y_label=metric_label(up)
    )
    return Chart(title, svg, [Key(*key) for key in keys.items()]) if spots else None


def _measured(record: Compared, name: str, key: str) -> Measured | None:
    return record.arms[name].measured.get(key)


def _line(arms: dict[str, Arm], key: str) -> Line:
    return failure_line(arms, key.removeprefix("failures/")) if key.startswith("failures/") else metric_line(arms, key)


def _quoted(names: list[str]) -> str:
    return listed([f"`{name}`" for name in names])
