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
    left = (
        f"{_quoted(beaten)} {'is' if len(beaten) == 1 else 'are'} beaten in everything by another. " if beaten else ""
    )
    volume = front.hypervolume
    digits = decimals([volume.value, volume.low, volume.high])
    values = [number(value, digits) for value in (volume.value, volume.low, volume.high)]
    corner = listed([f"{metric_label(k)} {number(v, decimals([v]))}" for k, v in front.reference.items()])
    return (
        f"On the front of {objectives}: {_quoted(front.members)}. {left}The hypervolume above {corner} is {values[0]} "
        f"(95 % interval {values[1]} to {values[2]})."
    )


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
    spots = []
    for name in names:
        x, y = _measured(record, name, across), _measured(record, name, up)
        if x and y:
            spots.append(charts.Spot(name, x, y, series_of(record, name), hollow=name not in front.members))
    title = f"{metric_label(up)} against {metric_label(across)}"
    svg = charts.scatter_chart(
        spots, label=f"{title}, with 95 % intervals", x_label=metric_label(across), y_label=metric_label(up)
    )
    return Chart(title, svg, [Key(spot.label, spot.series) for spot in spots]) if spots else None


def _measured(record: Compared, name: str, key: str) -> Measured | None:
    arm = record.arms[name]
    return arm.failure_modes.get(key.removeprefix("failures/")) if key.startswith("failures/") else arm.metrics.get(key)


def _line(arms: dict[str, Arm], key: str) -> Line:
    return failure_line(arms, key.removeprefix("failures/")) if key.startswith("failures/") else metric_line(arms, key)


def _quoted(names: list[str]) -> str:
    return listed([f"`{name}`" for name in names])
