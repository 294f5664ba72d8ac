"""Charts of a stage whose log has what it is trained on and what that stands for: both joined in time order, and
distances on fixed texts with the power laws that they follow or have left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from homestretch.alarms.hindsight import first_break
from homestretch.alarms.power_law import FITTED, LEAST_POINTS, WARMUP, fit_power_law
from homestretch.lab import Law
from homestretch.report.charts import Lines
from homestretch.report.curves import numbers, thinned
from homestretch.report.figures import Chart, Key
from homestretch.report.law_charts import Followed, law_chart, path_chart
from homestretch.report.names import metric_label
from homestretch.report.read import StageView

Drawn = dict[str, float]
"""What can be drawn of a row, and its step."""
NEAR = 2.0
"""How many times its smallest a distance may be where the path starts; what lies before would flatten the rest."""
DISTANCES = ("eval/proxy", "eval/golden"), ("eval/proxy_jsd", "eval/golden_jsd")
"""To the teacher and to the oracle; the second pair stands for the first where one of that is infinite."""
JUDGED = "objective/golden/"
POINTS = 30
"""Points of a path at most: rounds are averaged, else their noise is all that one sees."""


def proxy_charts(stage: StageView) -> list[Chart]:
    """The charts of one stage; none where its log has no such signals."""
    drawn, log = [], [{"step": float(row["step"]), **dict(numbers(row))} for row in stage.rows]
    for proxy, golden in _pairs(log):
        rows = [row for row in log if proxy in row and golden in row]
        falls = golden.startswith("eval/")
        if falls:
            rows = rows[first_near([row[golden] for row in rows]) :]
        line = Lines("", *(thinned([row[key] for row in rows], POINTS) for key in (proxy, golden)), series=1)
        both = "Golden against proxy distance" if falls else f"{_label(golden)} against {_label(proxy)}"
        title = f"{both}, joined in time order"
        labels = {"x_label": _label(proxy), "y_label": _label(golden)}
        if len(line.xs) > 1:
            drawn.append(Chart(title, path_chart([line], label=f"{title}, in {stage.label}", **labels), []))
        if falls and (followed := [f for i, key in enumerate((golden, proxy)) if (f := _followed(log, key, i))]):
            title = "Distances and their power laws"
            svg = law_chart(followed, label=f"{title}, in {stage.label}", x_label="steps")
            drawn.append(Chart(title, svg, [Key(f.line.label, f.line.series) for f in followed]))
    return drawn


def first_near(distances: Sequence[float]) -> int:
    """Where the path of distances starts: the first of them that is near the smallest."""
    return next(i for i, distance in enumerate(distances) if distance <= NEAR * min(distances))


def law_of(steps: Sequence[float], values: Sequence[float]) -> Law | None:
    """The law that the series left, else that of its first half; None where it is too short, or reaches 0."""
    points = [(step, value) for step, value in zip(steps, values, strict=True) if step > 0]
    if len(points) < LEAST_POINTS or min(value for _, value in points) <= 0:
        return None
    step_N, value_N = ([float(x) for x in column] for column in zip(*points, strict=True))
    if raised := first_break(step_N, value_N):
        law, where = raised.found.law, {"departure": raised.found.step, "raised": raised.step}
    else:
        fitted = slice(int(WARMUP * len(step_N)), int(FITTED * len(step_N)))
        law, where = fit_power_law(step_N[fitted], value_N[fitted], floor=True), {}
    return Law(floor=law.floor, factor=law.factor, exponent=law.exponent, **where)


def _pairs(rows: Sequence[Drawn]) -> Iterator[tuple[str, str]]:
    both = [pair for pair in DISTANCES if any(all(key in row for key in pair) for row in rows)]
    yield from both[:1]
    names = {key for row in rows if "reward" in row for key in row if key.startswith(JUDGED)}
    yield from (("reward", name) for name in sorted(names))


def _followed(rows: Sequence[Drawn], key: str, colour: int) -> Followed | None:
    points = [(row["step"], row[key]) for row in rows if row["step"] > 0 and row.get(key, 0) > 0]
    if len(points) < 2:
        return None
    steps, values = (list(column) for column in zip(*points, strict=True))
    return Followed(Lines(_label(key), steps, values, colour), law_of(steps, values))


def _label(key: str) -> str:
    if key.startswith(JUDGED):
        return f"golden reward, {metric_label(key.removeprefix(JUDGED))}"
    return metric_label(key.removeprefix("eval/"))
