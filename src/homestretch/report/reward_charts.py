"""Charts of rewards on pairs: what each feature does, and what a reward claims beside what comes true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from homestretch.ordered import Claim
from homestretch.report.charts import INK, STYLE, frame, new_axes, series, shortened, to_svg
from homestretch.report.names import number


@dataclass(frozen=True)
class Effect:
    """One feature: what is lost when it is shuffled, a full dot, and when it is left out, a hollow one."""

    label: str
    shuffled: float
    left_out: float


def effect_chart(rows: Sequence[Effect], *, label: str) -> Markup:
    """Two dots for every feature, each on a line from zero; the number is that of the full one."""
    left = min(150, 14 + 6.4 * max(len(row.label) for row in rows))
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=34 + 30 * len(rows), left=left, right=52, bottom=28, top=6)
        for y, row in enumerate(rows):
            for value, shift, face in ((row.shuffled, -0.13, series(1)), (row.left_out, 0.2, "none")):
                axes.plot([0, value], [y + shift] * 2, color=series(1), linewidth=1.6)
                dot: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": series(1)}
                axes.plot([value], [y + shift], "o", markersize=6, **dot)
            where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
            axes.annotate(number(row.shuffled, 1), (1.03, y), annotation_clip=False, **where)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [shortened(row.label, 24) for row in rows])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", linewidth=0.6)
        return to_svg(figure, label)


def claim_chart(curves: Sequence[tuple[str, int, Sequence[Claim]]], *, label: str) -> Markup:
    """Right pairs against what was claimed, in percent, with intervals; on the dashed line claims come true.

    `curves` are (name, series, claims).
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(height=250, left=44, right=14, bottom=44, top=26)
        axes.plot([50, 100], [50, 100], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for _, colour, claims in curves:
            xs = [100 * claim.claimed for claim in claims]
            axes.plot(xs, [100 * c.right.value for c in claims], color=series(colour), linewidth=1.3, marker="o")
            for x, claim in zip(xs, claims, strict=True):
                ends = [100 * claim.right.low, 100 * claim.right.high]
                axes.plot([x, x], ends, color=series(colour), linewidth=1.1, alpha=0.6)
        frame(axes, "claimed, %", "right, %", margin=0.05)
        return to_svg(figure, label)
