"""The tables of a comparison as rows of text: methods by metric, ranks, seeds, costs. Failed methods stand last."""

from __future__ import annotations

from homestretch.compared import Compared, Cost
from homestretch.report.names import decimals, duration, memory, number, percent
from homestretch.report.table import Line, failure_line, metric_line, plain_cell

METRICS = ("rougeL", "bleurt", "similarity", "reward", "kl", "length_ratio")
NOTHING = "–"

Rows = list[list[str]]


def summary_table(record: Compared) -> Rows:
    """Header and a row a method, the best first: metrics, failures, chances of the rank, and cost."""
    lines = _lines(record, (record.headline_metric, *METRICS))
    header = ["method", *(line.label for line in lines), "P(best)", "P(above next)", "time", "tokens", "memory"]
    rows = [
        [place.method, *(plain_cell(line.cells[i]) for line in lines), *_chances(record, i), *_spent(record, i)]
        for i, place in enumerate(record.ranking)
    ]
    return _with_failed(record, [header, *rows])


def rank_table(record: Compared) -> Rows:
    """Rank, headline metric, chances of the rank."""
    lines = _lines(record, (record.headline_metric,))[:1]
    header = ["method", "rank", *(line.label for line in lines), "P(best)", "P(above next)"]
    rows = [
        [place.method, str(i + 1), *(plain_cell(line.cells[i]) for line in lines), *_chances(record, i)]
        for i, place in enumerate(record.ranking)
    ]
    return _with_failed(record, [header, *rows])


def seed_table(record: Compared) -> Rows:
    """The headline metric of each seed."""
    digits = decimals(value for method in record.methods.values() for value in method.by_seed.values())
    rate = record.headline_metric.startswith("failures/")
    rows = [["method", *(f"seed {seed}" for seed in record.seeds)]]
    for place in record.ranking:
        values = [record.methods[place.method].by_seed.get(seed) for seed in record.seeds]
        rows.append(
            [place.method, *(NOTHING if v is None else percent(v) if rate else number(v, digits) for v in values)]
        )
    return rows


def cost_table(record: Compared) -> Rows:
    """What each method's own stage and all its stages cost."""
    parts = ("time", "tokens", "samples")
    rows = [["method", *(f"{part}, its stage" for part in parts), *(f"{part}, all stages" for part in parts), "memory"]]
    for name, method in record.methods.items():
        if method.total is not None:
            own, total = _cost_cells(method.own), _cost_cells(method.total)
            rows.append([name, *own[:3], *total])
    return rows


def making_table(record: Compared) -> Rows:
    """Stages of each method, and the one that it is about."""
    rows = [["method", "stages", "about", "budget", "status"]]
    for name, method in record.methods.items():
        budget = ", ".join(f"{n:,} {unit}" for unit, n in record.budget.items()) if method.limited else "its own length"
        rows.append([name, " → ".join(method.stages), method.stage, budget, method.status])
    return rows


def share(p: float | None) -> str:
    """`97 %`; never all or none for what a sample of draws says."""
    if p is None:
        return NOTHING
    return "> 99 %" if p > 0.995 else "< 1 %" if p < 0.005 else percent(p)


def _lines(record: Compared, keys: tuple[str, ...]) -> list[Line]:
    arms = {place.method: record.arms[place.method] for place in record.ranking}
    there = [key for key in dict.fromkeys(keys) if any(key in arm.metrics for arm in arms.values())]
    modes = dict.fromkeys([*(k.removeprefix("failures/") for k in keys if k.startswith("failures/")), "any"])
    rates = [failure_line(arms, mode) for mode in modes if any(mode in arm.failure_modes for arm in arms.values())]
    metrics = [metric_line(arms, key) for key in there]
    return rates + metrics if keys[0].startswith("failures/") else metrics + rates


def _chances(record: Compared, i: int) -> list[str]:
    return [share(record.ranking[i].p_best), share(record.ranking[i].p_above_next)]


def _spent(record: Compared, i: int) -> list[str]:
    seconds, tokens, _, peak = _cost_cells(record.methods[record.ranking[i].method].total)
    return [seconds, tokens, peak]


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [NOTHING] * 4
    peak = NOTHING if cost.peak_memory_bytes is None else memory(cost.peak_memory_bytes)
    return [duration(cost.seconds), f"{cost.tokens:,.0f}", f"{cost.samples:,.0f}", peak]


def _with_failed(record: Compared, rows: Rows) -> Rows:
    there = {row[0] for row in rows[1:]}
    lacking = [f"{name} ({m.status})" for name, m in record.methods.items() if name not in there]
    return rows + [[name, *[NOTHING] * (len(rows[0]) - 1)] for name in lacking]
