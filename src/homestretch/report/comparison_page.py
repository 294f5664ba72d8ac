"""The page of a comparison: advice, ranking, metrics, learning curves and costs, in one file without script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from homestretch.compared import Compared, MethodRecord, Point
from homestretch.report import charts, sections
from homestretch.report.figures import Chart, Key
from homestretch.report.front import front_charts, front_table, sentence
from homestretch.report.methods_table import cost_table, making_table, rank_table, seed_table, share
from homestretch.report.names import decimals, is_sampled, listed, metric_label
from homestretch.report.page import fill, numbered, with_code
from homestretch.report.read import clean
from homestretch.report.sections import Named
from homestretch.writing import write_text

AXES = {"seconds": "seconds of training", "samples": "samples trained on"}


def write_page(record: Compared, out: Path) -> None:
    """Write the page of a comparison to `out`. Raises InputError where that is not possible."""
    write_text(out, render(record))


def render(record: Compared) -> str:
    """The page as text. The same record gives the same text."""
    rows = sections.comparisons(record.results)
    order = [place.method for place in record.ranking]
    return fill(
        "comparison.html",
        record=record,
        advice=with_code(record.advice),
        front=with_code(sentence(record)),
        fronts=numbered(front_charts(record, series_of), "f"),
        front_rows=front_table(record),
        title=listed([clean(name) for name in record.methods]),
        terms=terms(record),
        metric=metric_label(record.headline_metric),
        failed=[(clean(n), clean(m.error)) for n, m in record.methods.items() if m.error],
        overview=numbered([overview(record, order)], "o"),
        ranks=rank_table(record),
        order=share(record.p_order),
        seeds=seed_table(record),
        tables=sections.arms_tables(named(record, order), record.headline_metric),
        comparisons=[row for row in rows if row.metric == metric_label(record.headline_metric)],
        more=[row for row in rows if row.metric != metric_label(record.headline_metric)],
        curves=numbered([curve_chart(record, axis) for axis in AXES], "c"),
        costs=cost_table(record),
        making=making_table(record),
    )


def terms(record: Compared) -> str:
    """Budget and seeds in words."""
    seeds = f"seed {record.seeds[0]}" if len(record.seeds) == 1 else f"seeds {listed([str(s) for s in record.seeds])}"
    limits = listed([f"{count:,} {unit}" for unit, count in record.budget.items()])
    budget = f"Each method's stage may spend {limits}" if limits else "Each recipe has its own length"
    return f"{budget}; {seeds}."


def named(record: Compared, order: Sequence[str]) -> Named:
    """The arms in order of the ranking, sampled ones last."""
    place = {name: i for i, name in enumerate(order)}
    arms = sorted(record.arms.items(), key=lambda item: (is_sampled(item[0]), place.get(item[0].split("@")[0], 0)))
    return [(name, name, series_of(record, name.split("@")[0]), arm) for name, arm in arms]


def series_of(record: Compared, method: str) -> int:
    """The colour of a method: grey for the baseline, the others in turn."""
    if record.methods[method].baseline:
        return 0
    return 1 + [n for n, m in record.methods.items() if not m.baseline].index(method) % (charts.SERIES - 1)


def overview(record: Compared, order: Sequence[str]) -> Chart | None:
    """The headline metric of every method."""
    metric = record.headline_metric
    measured = [(n, record.arms[n].measured.get(metric)) for n in order]
    dots = [charts.Dot(name, m, series_of(record, name)) for name, m in measured if m]
    if not dots:
        return None
    title = f"{metric_label(metric)}, by method"
    digits = decimals(dot.measured.value for dot in dots)
    return Chart(title, charts.interval_chart(dots, digits=digits, label=f"{title}, with 95 % intervals"))


def curve_chart(record: Compared, axis: str) -> Chart | None:
    """The validation metric that most methods have, against what was spent."""
    metrics = [m.curve_metric for m in record.methods.values() if m.curve_metric]
    if not metrics:
        return None
    metric = max(dict.fromkeys(metrics), key=metrics.count)
    lines = [
        _line(name, method, axis, series_of(record, name))
        for name, method in record.methods.items()
        if method.curve_metric == metric
    ]
    title = f"Validation {metric_label(metric)} against {AXES[axis]}"
    svg = charts.curve_chart(lines, label=title, x_label=AXES[axis])
    return Chart(title, svg, [Key(line.label, line.series) for line in lines])


def _line(name: str, method: MethodRecord, axis: str, series: int) -> charts.Lines:
    """Means over the seeds, validation by validation, as far as all seeds have them."""
    together: list[tuple[Point, ...]] = list(zip(*method.curves.values(), strict=False))
    xs = [fmean(getattr(point, axis) for point in points) for points in together]
    return charts.Lines(name, xs, [fmean(p.value for p in points) for points in together], series, dots=True)
