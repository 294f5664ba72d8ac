"""Charts as inline SVG: narrow enough for a telephone, in colours that the page's style sheet decides.

matplotlib draws with stand-in colours; afterwards they become CSS variables (`--ink`, `--grid`, `--warn`, and
`--s0` to `--s6` for series), so that light, dark and print need no second drawing. Ids get a prefix of their own,
dates and names of programs are left out: the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from homestretch.report.names import number, percent
from homestretch.results import Measured

WIDTH = 340
SERIES = 7
INK, _GRID, WARN = "#010101", "#010102", "#010103"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "homestretch",
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": _GRID,
    "axes.linewidth": 0.8,
}


@dataclass(frozen=True)
class Dot:
    """One row of an interval chart."""

    label: str
    measured: Measured
    series: int
    hollow: bool = False


@dataclass(frozen=True)
class Mark:
    """A sentence of the run doctor in a chart: its number above a dashed line, or a solid one with the name of an
    `alarm` along it."""

    step: int
    number: int
    alarm: str | None = None


@dataclass(frozen=True)
class Lines:
    """One line of a chart: points in order of x. `dots` marks the points, as few validations deserve."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    series: int
    dots: bool = False


def series(index: int) -> str:
    """Stand-in colour of series `index`; it becomes `var(--sN)`."""
    return f"#0101{0xA0 + index % SERIES:02x}"


def interval_chart(rows: Sequence[Dot], *, digits: int, label: str) -> Markup:
    """A dot and its interval for every row; hollow dots are sampled arms."""
    left = min(150, 14 + 6.4 * max(len(row.label) for row in rows))
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=34 + 26 * len(rows), left=left, right=52, bottom=28, top=6)
        for y, row in enumerate(rows):
            m, colour = row.measured, series(row.series)
            axes.plot([m.low, m.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="round")
            face = "none" if row.hollow else colour
            axes.plot([m.value], [y], "o", markersize=7, markerfacecolor=face, markeredgecolor=colour)
            where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
            axes.annotate(number(m.value, digits), (1.03, y), annotation_clip=False, **where)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [shortened(row.label, 24) for row in rows])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", linewidth=0.6)
        return to_svg(figure, label)


def rate_chart(
    names: Sequence[str], pairs: Sequence[Sequence[Measured | None]], arms: Sequence[tuple[str, int]], *, label: str
) -> Markup:
    """A group of bars for every name, one bar for every arm (name, series), with intervals as thin lines.

    `pairs[i][j]` is the rate of name i for arm j, in [0, 1].
    """
    step = 22 + 15 * len(arms)
    top = max((m.high for group in pairs for m in group if m), default=0.0)
    scale = 1.0 / max(top, 0.02)
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=step * len(names) + 6, left=2, right=46, bottom=2, top=4)
        for i, (name, group) in enumerate(zip(names, pairs, strict=True)):
            axes.text(0, i * step + 9, shortened(name, 44), va="center")
            for j, m in enumerate(group):
                y = i * step + 25 + 15 * j
                if m is None:
                    continue
                colour = series(arms[j][1])
                axes.barh(y, m.value * scale, height=9, color=colour)
                axes.plot([m.low * scale, m.high * scale], [y, y], color=INK, linewidth=0.9)
                axes.text(max(m.high, m.value) * scale + 0.02, y, percent(m.value), va="center", fontsize=10)
        axes.set_xlim(0, 1)
        axes.set_ylim(step * len(names), 0)
        axes.axis("off")
        return to_svg(figure, label)


def histogram(groups: Sequence[tuple[str, Sequence[int], int]], *, label: str, x_label: str) -> Markup:
    """Share of outputs by length for every group (name, values, series), over common bins."""
    top = max(max(values) for _, values, _ in groups)
    width = max(1, math.ceil((top + 1) / 24))
    edges = list(range(0, top + width + 1, width))
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=170, left=38, right=8, bottom=40, top=8)
        for order, (_, values, colour) in enumerate(groups):
            shares = [0.0] * (len(edges) - 1)
            for value in values:
                shares[value // width] += 100 / len(values)
            fill = len(groups) <= 2 and order == len(groups) - 1
            style = (0, ()) if order % 2 else (0, (5, 2))
            axes.stairs(shares, edges, color=series(colour), linewidth=1.8, linestyle=style)
            if fill:
                axes.stairs(shares, edges, color=series(colour), fill=True, alpha=0.18)
        axes.set_xlabel(x_label)
        _finish(axes)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, edges[-1])
        return to_svg(figure, label)


def curve_chart(
    lines: Sequence[Lines],
    *,
    label: str,
    marks: Sequence[Mark] = (),
    best: tuple[float, float] | None = None,
    x_label: str = "",
) -> Markup:
    """Curves over training steps, or what `x_label` says; `best` is the kept checkpoint."""
    with matplotlib.rc_context(STYLE):
        room = 16 if x_label else 0
        figure, axes = new_axes(height=150 + room, left=44, right=10, bottom=24 + room, top=16)
        axes.set_xlabel(x_label)
        for line in lines:
            marker = "o" if line.dots or len(line.xs) == 1 else None
            axes.plot(line.xs, line.ys, color=series(line.series), linewidth=1.7, marker=marker, markersize=4)
        steps = [x for line in lines for x in line.xs]
        for step in sorted({mark.step for mark in marks}):
            if min(steps) <= step <= max(steps):
                _draw_marks(axes, step, [mark for mark in marks if mark.step == step])
        if best:
            axes.plot(*best, "o", markersize=10, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.3)
        _finish(axes)
        axes.margins(x=0.03, y=0.12)
        return to_svg(figure, label)


def _draw_marks(axes: Axes, step: int, marks: Sequence[Mark]) -> None:
    """One line for what was said at a step, with all numbers and the names of all alarms."""
    where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "color": WARN, "annotation_clip": False}
    alarms = dict.fromkeys(mark.alarm for mark in marks if mark.alarm is not None)
    style = "solid" if alarms else (0, (3, 2))
    axes.axvline(step, color=WARN, linewidth=1.8 if alarms else 1.1, linestyle=style)
    numbers = ", ".join(dict.fromkeys(str(mark.number) for mark in marks))
    axes.annotate(numbers, (step, 1.02), ha="center", va="bottom", fontsize=10, **where)
    if alarms:
        axes.annotate(", ".join(alarms), (step, 0.98), ha="right", va="top", rotation=90, fontsize=9, **where)


@dataclass(frozen=True)
class Spot:
    """A point of a scatter chart with an interval each way; hollow where something is better in everything."""

    label: str
    x: Measured
    y: Measured
    series: int
    hollow: bool = False


def scatter_chart(spots: Sequence[Spot], *, label: str, x_label: str, y_label: str) -> Markup:
    """Points with intervals in both directions, each with its name beside it."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=250, left=52, right=14, bottom=44, top=26)
        for spot in spots:
            colour = series(spot.series)
            axes.plot([spot.x.low, spot.x.high], [spot.y.value] * 2, color=colour, linewidth=1.1, alpha=0.6)
            axes.plot([spot.x.value] * 2, [spot.y.low, spot.y.high], color=colour, linewidth=1.1, alpha=0.6)
            face = "none" if spot.hollow else colour
            axes.plot([spot.x.value], [spot.y.value], "o", markersize=7, markerfacecolor=face, markeredgecolor=colour)
            beside: dict[str, Any] = {"xytext": (6, 5), "textcoords": "offset points", "fontsize": 10}
            axes.annotate(shortened(spot.label, 16), (spot.x.value, spot.y.value), **beside)
        frame(axes, x_label, y_label, margin=0.12)
        return to_svg(figure, label)


def frame(axes: Axes, x_label: str, y_label: str, *, margin: float) -> None:
    """What axes of two quantities have in common; the ordinate is named above, where a long name has room."""
    axes.set_xlabel(x_label)
    axes.text(0, 1.03, y_label, transform=axes.transAxes, va="bottom")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(linewidth=0.6)
    axes.margins(margin)


def new_axes(*, height: float, left: float, right: float, bottom: float, top: float) -> tuple[Figure, Axes]:
    """A figure of the common width with axes inside margins, all in points; to be used in `STYLE`."""
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - bottom - top) / height)
    axes = figure.add_axes(box)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, pad=5)
    axes.set_axisbelow(True)
    return figure, axes


def _finish(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 5))
    axes.yaxis.get_offset_text().set_fontsize(9)
    axes.grid(axis="y", linewidth=0.6)


def shortened(text: str, limit: int) -> str:
    """The text, or its start with an ellipsis, in `limit` characters at most."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def to_svg(figure: Figure, label: str) -> Markup:
    """The figure as inline SVG, `label` for those who do not see it."""
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Letters that matplotlib's own font lacks are drawn by the browser's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=nothing)
    body = buffer.getvalue()
    inner = body[body.index(">", body.index("<svg ")) + 1 :]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL).replace("xlink:href", "href")
    inner = re.sub(r"(?<=#)01010([123])\b", lambda m: f"@{m[1]}", inner)
    for count, name in enumerate(("--ink", "--grid", "--warn"), 1):
        inner = inner.replace(f"#@{count}", f"var({name})")
    for index in range(SERIES):
        inner = inner.replace(series(index), f"var(--s{index})")
    height = figure.get_figheight() * 72
    head = f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">'
    return Markup(head + re.sub(r"\s*\n\s*", "\n", inner).strip())


def unique_ids(svg: Markup, prefix: str) -> Markup:
    """The same drawing with `prefix` before every id and every reference to one."""
    text = re.sub(r'\bid="', f'id="{prefix}', str(svg))
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    return Markup(re.sub(r'\bhref="#', f'href="#{prefix}', text))
