"""The page's tables as plain text cells."""

from __future__ import annotations

from dataclasses import dataclass

from homestretch.report.names import (
    apart_from_zero,
    decimals,
    duration,
    is_sampled,
    memory,
    metric_label,
    mode_label,
    number,
    p_value,
    percent,
    signed,
)
from homestretch.report.read import RunView
from homestretch.report.table import Line, failure_line, length_lines, metric_keys, metric_line
from homestretch.report.verdict import TITLES, outcome
from homestretch.results import Arm, Comparison, Environment, Results, RewardMode, Timing

Named = list[tuple[str, str, int, Arm]]


@dataclass(frozen=True)
class ArmsTable:
    """Metrics, failure modes and lengths of the arms that decode in one way."""

    title: str
    note: str
    columns: list[str]
    groups: list[tuple[str, list[Line]]]


@dataclass(frozen=True)
class ComparisonRow:
    """One paired difference, as text; `first` rows are shown before any is unfolded."""

    a: str
    b: str
    metric: str
    difference: str
    interval: str
    p: str
    n: int
    outcome: str
    reading: str
    first: bool


@dataclass(frozen=True)
class RewardTable:
    """Rows of (mode, held out, n, accuracy, AUROC, AUROC of each baseline)."""

    baselines: list[str]
    rows: list[tuple[str, bool, int, str, str, list[str]]]


@dataclass(frozen=True)
class Tile:
    """One figure before and after."""

    label: str
    before: str
    after: str


def named_arms(runs: list[RunView]) -> Named:
    """Every arm as (label, arm, place of its run, Arm), greedy ones first."""
    found = [
        (arm if len(runs) == 1 else f"{run.name} · {arm}", arm, place, values)
        for place, run in enumerate(runs)
        if run.results
        for arm, values in run.results.arms.items()
    ]
    return sorted(found, key=lambda item: is_sampled(item[1]))


def arms_tables(named: Named, headline: str) -> list[ArmsTable]:
    """One table for greedy decoding and one for sampling, where there are such arms."""
    tables = []
    for sampled, title in ((False, "Greedy decoding"), (True, "Sampled at temperature 1")):
        arms = {label: arm for label, name, _, arm in named if is_sampled(name) == sampled}
        if not arms:
            continue
        keys = metric_keys(arms, headline)
        metrics = [metric_line(arms, key, headline=key == headline) for key in keys]
        modes = {mode for arm in arms.values() for mode in arm.failure_modes}
        order = sorted(modes, key=lambda m: (m != "any", m))
        failing = [failure_line(arms, mode) for mode in order]
        groups = [("Metrics", metrics), ("Failures by rule", failing), ("Length", length_lines(arms))]
        sizes = sorted({m.n for arm in arms.values() for m in arm.metrics.values()})
        note = f"{sizes[0]} prompts." if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} prompts." if sizes else ""
        tables.append(ArmsTable(title, note, list(arms), [g for g in groups if g[1]]))
    return tables


def comparisons(results: Results) -> list[ComparisonRow]:
    """Paired differences: the headline metric and failures in all first."""
    heads = (results.headline_metric, "failures/any")
    ordered = sorted(
        results.comparisons,
        key=lambda c: (c.metric not in heads, is_sampled(c.a), heads.index(c.metric) if c.metric in heads else 9),
    )
    return [_comparison(c, c.metric in heads) for c in ordered]


def _comparison(c: Comparison, first: bool) -> ComparisonRow:
    if c.metric.startswith("failures/"):
        scale, digits, unit = 100.0, 1, " points"
    else:
        scale, digits, unit = 1.0, max(2, decimals([c.difference, c.low, c.high])), ""
    digits = apart_from_zero(digits, scale * c.low, scale * c.high)
    low, high = signed(scale * c.low, digits), signed(scale * c.high, digits)
    what = outcome(c)
    reading = TITLES[what].lower()
    if c.higher_is_better is None and not c.low <= 0 <= c.high:
        reading = "higher" if c.difference > 0 else "lower"
    return ComparisonRow(
        c.a, c.b, metric_label(c.metric), signed(scale * c.difference, digits) + unit, f"{low} to {high}",
        p_value(c.p_value).removeprefix("p ").removeprefix("= "), c.n, what, reading, first,
    )  # fmt: skip


def reward_table(results: Results) -> RewardTable | None:
    """The reward model by failure mode, next to what trivial scorers reach."""
    if not results.reward_model:
        return None
    baselines = list(results.baselines)
    modes = sorted(results.reward_model.items(), key=lambda item: (item[0] == "all", item[1].held_out, item[0]))
    rows = [
        (
            mode_label(mode), row.held_out, row.n, _share(row.accuracy), _auroc(row),
            [_auroc(results.baselines[b].get(mode)) for b in baselines],
        )
        for mode, row in modes
    ]  # fmt: skip
    return RewardTable([metric_label(b) for b in baselines], rows)


def tiles(results: Results | None) -> list[Tile]:
    """Headline metric, failures and length, before and after."""
    if results is None:
        return []
    ml, rl = results.arms.get("ml_raw"), results.arms.get("rl_raw")
    if not ml or not rl:
        return []
    key, out = results.headline_metric, []
    if key in ml.metrics and key in rl.metrics:
        values = ml.metrics[key].value, rl.metrics[key].value
        before, after = (number(v, decimals(values)) for v in values)
        out.append(Tile(metric_label(key), before, after))
    if "any" in ml.failure_modes and "any" in rl.failure_modes:
        before, after = (percent(arm.failure_modes["any"].value) for arm in (ml, rl))
        out.append(Tile("outputs that fail a rule", before, after))
    if ml.length and rl.length:
        of = ml.length.reference_mean
        label = "mean length, tokens" + (f" (references {number(of, 1)})" if of else "")
        out.append(Tile(label, number(ml.length.mean, 1), number(rl.length.mean, 1)))
    return out


def environment(record: Environment | None) -> list[tuple[str, dict[str, str]]]:
    """Titled groups of facts, sizes in units that can be read; what is not there is left out."""
    if record is None:
        return []
    hardware = {
        key.removesuffix("_bytes").replace("_", " "): memory(value)
        if key.endswith("_bytes") and isinstance(value, int)
        else str(value)
        for key, value in record.hardware.items()
        if value not in (None, "")
    }
    seeds = {key: str(value) for key, value in record.seeds.items()}
    groups = [("Versions", dict(record.versions)), ("Hardware", hardware), ("Seeds", seeds)]
    return [(title, facts) for title, facts in groups if facts]


def timings(run: RunView) -> list[list[str]]:
    """Stage, status, time, tokens, tokens a second, peak memory."""
    rows = [
        _timing(s.label, s.record.status, s.record.seconds, s.record.tokens, s.record.peak_memory_bytes)
        for s in run.stages
    ]
    if rows or run.results is None:
        return rows
    return [_timed(name, t) for name, t in run.results.timings.items()]


def _timed(name: str, t: Timing) -> list[str]:
    return _timing(name, "done", t.seconds, t.tokens, t.peak_memory_bytes)


def _timing(name: str, status: str, seconds: float | None, tokens: int | None, peak: int | None) -> list[str]:
    return [
        name,
        status,
        "–" if seconds is None else duration(seconds),
        "–" if tokens is None else f"{tokens:,}",
        f"{tokens / seconds:,.0f}" if tokens and seconds else "–",
        "–" if peak is None else memory(peak),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _auroc(row: RewardMode | None) -> str:
    return "–" if row is None or row.auroc is None else f"{row.auroc:.3f}"
