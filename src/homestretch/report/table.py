"""The table of arms as rows of text: printed at the end of a run, shown in the README and on the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from homestretch.report.names import decimals, is_sampled, metric_label, mode_label, number, percent
from homestretch.results import Arm, Measured, Results

ORDER = (
    *("la_rougeL", "la_rouge1", "la_rouge2", "rougeL", "rouge1", "rouge2", "bleurt", "bertscore", "similarity"),
    *("bleu", "chrf", "reward", "kl", "distinct2", "copy_rate", "length_ratio"),
)


@dataclass(frozen=True)
class Cell:
    """A value and the ends of its interval, as text; `best` where it leads its row."""

    text: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One metric over all arms."""

    label: str
    cells: list[Cell]
    headline: bool = False


def metric_keys(arms: dict[str, Arm], headline: str) -> list[str]:
    """Keys that any arm has: the headline first, then the known ones in a fixed order, then the rest."""
    there = {key for arm in arms.values() for key in arm.metrics}
    known = [key for key in (headline, *(k for k in ORDER if k != headline)) if key in there]
    return known + sorted(there - set(known))


def metric_line(arms: dict[str, Arm], key: str, *, headline: bool = False) -> Line:
    """The row of one metric."""
    values = [arm.metrics.get(key) for arm in arms.values()]
    digits = decimals(m.value for m in values if m)
    return Line(metric_label(key), _cells(values, lambda v: number(v, digits)), headline)


def failure_line(arms: dict[str, Arm], mode: str) -> Line:
    """The row of one failure mode's rate."""
    label = "outputs that fail a rule" if mode == "any" else mode_label(mode)
    return Line(label, _cells([arm.failure_modes.get(mode) for arm in arms.values()], percent))


def length_lines(arms: dict[str, Arm]) -> list[Line]:
    """Mean, and median with the 10 % and 90 % quantiles, of the outputs' length in tokens."""
    if not any(arm.length for arm in arms.values()):
        return []
    mean, median = [], []
    for arm in arms.values():
        size = arm.length
        mean.append(Cell(number(size.mean, 1)) if size else Cell("–"))
        spread = Cell(number(size.median, 0), f"{size.p10:.0f} to {size.p90:.0f}") if size else Cell("–")
        median.append(spread)
    return [Line("length, tokens: mean", mean), Line("length: median, 10 % to 90 %", median)]


def arms_table(results: Results, *, metrics: list[str] | None = None) -> list[list[str]]:
    """Header and a row per arm, greedy arms first: the chosen metrics (default: headline, ROUGE-L, failures, length).

    Cells are text such as `24.4 (23.1 to 25.7)`; what was not measured is an en dash.
    """
    chosen = metrics or list(dict.fromkeys((results.headline_metric, "rougeL", "bleurt", "reward")))
    arms = dict(sorted(results.arms.items(), key=lambda item: is_sampled(item[0])))
    keys = [key for key in chosen if any(key in arm.metrics for arm in arms.values())]
    lines = [metric_line(arms, key) for key in keys]
    if any("any" in arm.failure_modes for arm in arms.values()):
        lines.append(failure_line(arms, "any"))
    lines += length_lines(arms)[:1]
    header = ["arm", *(line.label for line in lines)]
    return [header, *([arm, *(plain_cell(line.cells[i]) for line in lines)] for i, arm in enumerate(arms))]


def markdown(rows: list[list[str]]) -> str:
    """The rows as a Markdown table, first row as header."""
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(clean[0]) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (clean[0], rule, *clean[1:]))


def plain_cell(cell: Cell) -> str:
    """`24.4 (23.1 to 25.7)`."""
    return f"{cell.text} ({cell.interval})" if cell.interval else cell.text


def _cells(values: list[Measured | None], write: Callable[[float], str]) -> list[Cell]:
    there = [m for m in values if m]
    up = there[0].higher_is_better if len(there) > 1 else None
    best = None if up is None else write((max if up else min)(m.value for m in there))
    same = len({write(m.value) for m in there}) == 1
    return [
        Cell(write(m.value), f"{write(m.low)} to {write(m.high)}", write(m.value) == best and not same)
        if m
        else Cell("–")
        for m in values
    ]
