"""Charts of teacher hacking: two distances joined in time order, and distances with their power laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from homestretch.lab import Law
from homestretch.report.charts import INK, STYLE, WARN, Lines, frame, new_axes, series, to_svg

POINTS = 60


@dataclass(frozen=True)
class Followed:
    """A series with steps above 0 and values above 0, and the law that it follows or has left."""

    line: Lines
    law: Law | None = None


def path_chart(lines: Sequence[Lines], *, label: str, x_label: str, y_label: str, level: float | None = None) -> Markup:
    """Points joined in the order in which they come, hollow at the start and larger at the end; `level` is a dashed
    line across."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=250, left=48, right=14, bottom=44, top=26)
        for line in lines:
            colour = series(line.series)
            axes.plot(line.xs, line.ys, color=colour, linewidth=1.3, marker="o", markersize=2.5)
            axes.plot(line.xs[:1], line.ys[:1], "o", markersize=6, markerfacecolor="none", markeredgecolor=colour)
            axes.plot(line.xs[-1:], line.ys[-1:], "o", markersize=7, color=colour)
        if level is not None:
            axes.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        frame(axes, x_label, y_label, margin=0.08)
        return to_svg(figure, label)


def law_chart(followed: Sequence[Followed], *, label: str, x_label: str) -> Markup:
    """Both axes logarithmic: series, their laws dashed, and a ring at the point where a series has left its law."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=210, left=48, right=12, bottom=42, top=12)
        for each in followed:
            line, colour = each.line, series(each.line.series)
            axes.plot(line.xs, line.ys, color=colour, linewidth=1.3, marker="o", markersize=2.5)
            if each.law is not None:
                _draw_law(axes, line, each.law, colour)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(x_label)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_locator(NullLocator())
            axis.set_minor_formatter(NullFormatter())
        axes.grid(linewidth=0.6)
        return to_svg(figure, label)


def _draw_law(axes: Axes, line: Lines, law: Law, colour: str) -> None:
    first, last = line.xs[0], line.xs[-1]
    xs = [first * (last / first) ** (i / (POINTS - 1)) for i in range(POINTS)]
    # Early values of a law may be far above all that was measured, and would flatten the rest.
    shown = [(x, y) for x in xs if (y := law.floor + law.factor * x**-law.exponent) <= 1.2 * max(line.ys)]
    axes.plot([x for x, _ in shown], [y for _, y in shown], color=colour, linewidth=1.1, linestyle=(0, (4, 3)))
    if law.departure is not None:
        x, y = min(zip(line.xs, line.ys, strict=True), key=lambda point: abs(point[0] - law.departure))
        ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": WARN, "markeredgewidth": 1.6}
        axes.plot([x], [y], "o", markersize=11, **ring)
