"""The page's charts, each with the sentence below it."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from homestretch.report import charts
from homestretch.report.curves import Remark, marks, panels, remarks
from homestretch.report.names import decimals, is_sampled, metric_label, mode_label
from homestretch.report.read import RunView, StageView
from homestretch.results import Arm, Selection

MAX_MODES = 10
MAX_ROWS = 24


@dataclass(frozen=True)
class Key:
    """One entry of a legend: name and series number."""

    label: str
    series: int


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and legend."""

    title: str
    svg: Markup
    legend: list[Key] = field(default_factory=list)


@dataclass(frozen=True)
class StageCurves:
    """Everything shown about the training of one stage."""

    label: str
    status: str
    charts: list[Chart]
    remarks: list[Remark]
    unsaid: int
    left_out: list[str]


def arm_series(arm: str, run: int = 0) -> int:
    """Colour of an arm: 0 for `ml`, one of the others for `rl` of each run."""
    return 0 if arm.startswith("ml") else 1 + run % (charts.SERIES - 1)


def headline(named: list[tuple[str, str, int, Arm]], metric: str) -> Chart | None:
    """The headline metric of every arm; `named` holds (label, arm, run, Arm)."""
    there = [(label, arm, run, a.metrics[metric]) for label, arm, run, a in named if metric in a.metrics][:MAX_ROWS]
    if not there:
        return None
    rows = [charts.Dot(label, m, arm_series(arm, run), is_sampled(arm)) for label, arm, run, m in there]
    digits = decimals(m.value for *_, m in there)
    title = f"{metric_label(metric)}, by arm"
    return Chart(title, charts.interval_chart(rows, digits=digits, label=f"{title}, with 95 % intervals"))


def failures(named: list[tuple[str, str, int, Arm]], *, sampled: bool) -> Chart | None:
    """Rates of the failure modes of the raw arms of one way of decoding."""
    arms = [n for n in named if n[1].split("@")[0].endswith("_raw") and is_sampled(n[1]) == sampled][:6]
    arms = [n for n in arms if n[3].failure_modes]
    modes = {mode for *_, arm in arms for mode in arm.failure_modes}
    if not modes:
        return None
    worst = {m: max(a.failure_modes[m].value for *_, a in arms if m in a.failure_modes) for m in modes}
    order = sorted(modes, key=lambda m: (m != "any", -worst[m], m))[:MAX_MODES]
    pairs = [[arm.failure_modes.get(mode) for *_, arm in arms] for mode in order]
    keys = _distinct([Key(label, arm_series(arm, run)) for label, arm, run, _ in arms])
    title = f"Failure modes, {_how(sampled)}"
    svg = charts.rate_chart(
        [mode_label(m) for m in order], pairs, [(k.label, k.series) for k in keys], label=f"{title}: share of outputs"
    )
    return Chart(title, svg, keys)


def lengths(runs: list[RunView], *, sampled: bool) -> Chart | None:
    """Distribution of output lengths of the raw arms of one way of decoding."""
    groups: list[tuple[str, list[int], int]] = []
    for place, run in enumerate(runs):
        arms = sorted({arm for sample in run.samples for arm in sample.outputs})
        for arm in arms:
            if arm.split("@")[0].endswith("_raw") and is_sampled(arm) == sampled:
                outs = [s.outputs[arm] for s in run.samples if arm in s.outputs]
                sizes = [max(out.tokens, 0) for out in outs if out.tokens is not None]
                label = arm if len(runs) == 1 else f"{run.name} · {arm}"
                groups += [(label, sizes, arm_series(arm, place))] if sizes else []
    if not groups:
        return None
    keys = _distinct([Key(label, colour) for label, _, colour in groups[:6]])
    drawn = [(k.label, g[1], k.series) for k, g in zip(keys, groups, strict=False)]
    title = f"Length of the outputs, {_how(sampled)}"
    return Chart(title, charts.histogram(drawn, label=f"{title}: share by length", x_label="tokens"), keys)


def curves(stage: StageView, selection: list[Selection]) -> StageCurves:
    """Training curves of a stage with the run doctor's sentences."""
    shown, left_out = panels(stage, selection)
    said = remarks(stage)
    drawn = []
    for panel in shown:
        # One line of training needs no legend; that a line is about validation always has to be said.
        plain = [line.label for line in panel.lines] == ["training"]
        keys = [] if plain else [Key(line.label, line.series) for line in panel.lines]
        title = metric_label(panel.key)
        label = f"{title} over the steps of {stage.label}"
        svg = charts.curve_chart(panel.lines, marks=marks(said), best=panel.best, label=label)
        drawn.append(Chart(title, svg, keys))
    total = sum(r.times for r in said)
    return StageCurves(stage.label, stage.record.status, drawn, said, len(stage.doctor) - total, left_out)


def _how(sampled: bool) -> str:
    return "sampled at temperature 1" if sampled else "greedy"


def _distinct(keys: list[Key]) -> list[Key]:
    """Each entry with a colour of its own, kept where it was unless another entry has it already."""
    taken: set[int] = set()
    out = []
    for key in keys:
        free = [key.series, *range(1, charts.SERIES), 0]
        colour = next(c for c in free if c not in taken) if len(taken) < charts.SERIES else key.series
        taken.add(colour)
        out.append(Key(key.label, colour))
    return out
