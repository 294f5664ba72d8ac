"""The page of the lab of teacher hacking: paths, learning curves, laws and tables, in one file without script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from homestretch.lab import AlarmRecord, Evaluation, Hacking, HackingCase, HackingRun
from homestretch.report import charts
from homestretch.report.figures import Chart, Key
from homestretch.report.law_charts import Followed, law_chart, path_chart
from homestretch.report.names import decimals, listed, number, percent, signed
from homestretch.report.page import fill, numbered, with_code
from homestretch.report.proxies import first_near
from homestretch.results import Measured
from homestretch.writing import write_text

NOTHING = "–"
SWEEPS = {
    "sources": "Where the texts come from",
    "prompts": "Fewer prompts with more texts each",
    "generations": "More texts of each prompt",
    "loss": "Loss",
}
SERIES = {
    "golden": "golden distance, nats a text",
    "proxy": "proxy distance, nats a text",
    "training": "training loss, nats a token",
}
STEPS = "steps"

Rows = list[list[str]]


def write_page(record: Hacking, out: Path) -> None:
    """Write the page of a lab to `out`. Raises InputError where that is not possible."""
    write_text(out, render(record))


def render(record: Hacking) -> str:
    """The page as text. The same record gives the same text."""
    sweeps = [sweep for sweep in SWEEPS if any(case.sweep == sweep for case in record.cases.values())]
    return fill(
        "lab.html",
        record=record,
        sentence=with_code(record.sentence),
        seeds=f"{'seed' if len(record.seeds) == 1 else 'seeds'} {listed([str(seed) for seed in record.seeds])}",
        models=[["model", "what it is"], *([name, text] for name, text in record.models.items())],
        teachers=teacher_line(record),
        cases=case_table(record),
        paths=numbered([path(record, "sources")], "p"),
        sweeps=[(SWEEPS[sweep], numbered(curves(record, sweep), f"{sweep}-")) for sweep in sweeps],
        laws=numbered(laws(record), "w"),
        alarms=alarm_table(record.alarms),
    )


def cases_of(record: Hacking, sweep: str) -> dict[str, HackingCase]:
    """The cases of a sweep, behind the first case, which is the one to compare with."""
    first = next(iter(record.cases), None)
    return {name: case for name, case in record.cases.items() if case.sweep == sweep or name == first}


def means(case: HackingCase, series: str) -> tuple[list[int], list[float]]:
    """Steps, and means over the seeds of one series, evaluation by evaluation, where all seeds have it."""
    xs, ys = [], []
    for together in zip(*(run.curve for run in case.runs.values()), strict=False):
        values = [_value(evaluation, series) for evaluation in together]
        if None not in values:
            xs.append(together[0].step)
            ys.append(fmean(value for value in values if value is not None))
    return xs, ys


def path(record: Hacking, sweep: str) -> Chart | None:
    """Golden against proxy distance, means over seeds, from where both are near their smallest."""
    lines = []
    for i, (name, case) in enumerate(cases_of(record, sweep).items()):
        (_, golden), (_, proxy) = means(case, "golden"), means(case, "proxy")
        if golden:
            start = first_near(golden)
            lines.append(charts.Lines(name, proxy[start:], golden[start:], i))
    if not lines:
        return None
    teachers = [value for value in record.golden_of_teacher.values() if value is not None]
    level = fmean(teachers) if teachers else None
    title = "Golden against proxy distance, joined in time order"
    svg = path_chart(lines, label=title, x_label=SERIES["proxy"], y_label=SERIES["golden"], level=level)
    return Chart(title, svg, _keys(lines))


def curves(record: Hacking, sweep: str) -> list[Chart]:
    """Distances and training loss over the steps, means over seeds, a line for each case."""
    made = []
    for series, title in SERIES.items():
        cases = cases_of(record, sweep)
        found = [(name, *means(case, series)) for name, case in cases.items()]
        # the start is far above everything that comes after it
        lines = [charts.Lines(name, xs[1:], ys[1:], i) for i, (name, xs, ys) in enumerate(found) if len(xs) > 2]
        if lines:
            svg = charts.curve_chart(lines, label=f"{title}, by step", x_label=STEPS)
            made.append(Chart(title.capitalize(), svg, _keys(lines)))
    return made


def laws(record: Hacking) -> list[Chart]:
    """Distances of the first seed of each source on logarithmic axes, with their laws."""
    made = []
    for name, case in cases_of(record, "sources").items():
        seed, run = next(iter(case.runs.items()))
        followed = [_followed(run, series, i) for i, series in enumerate(("golden", "proxy"))]
        followed = [each for each in followed if len(each.line.xs) > 1]
        if followed:
            title = f"{name}, seed {seed}"
            svg = law_chart(followed, label=f"Distances and their power laws: {title}", x_label=STEPS)
            made.append(Chart(title, svg, _keys([each.line for each in followed])))
    return made


def teacher_line(record: Hacking) -> str:
    """How far the teachers are from the oracle, as a line under the models."""
    values = [value for value in record.golden_of_teacher.values() if value is not None]
    if not values:
        return ""
    digits = decimals(values)
    said = listed([number(value, digits) for value in values])
    return f"The teacher's own distance to the oracle: {said} nats a text."


def case_table(record: Hacking) -> Rows:
    """A row a case: what it learns from, where the golden distance turned, and by how much it rose."""
    header = ["case", "prompts", "texts of each", "golden, smallest", "at step", "golden, end", "rise"]
    rows = [[*header, "more than the first", "proxy there", "proxy, end", "hacked"]]
    for name, case in record.cases.items():
        runs = list(case.runs.values())
        hacked = sum(run.hacked for run in runs)
        rows.append(
            [
                name,
                f"{case.prompts:,}",
                str(case.generations),
                _mean(runs, "golden_min"),
                f"{fmean(run.best_step for run in runs):,.0f}",
                _mean(runs, "golden_last"),
                _share(case.rise),
                _share(case.more_than_baseline, sign=True),
                _mean(runs, "proxy_at_best"),
                _mean(runs, "proxy_last"),
                f"{hacked} of {len(runs)}",
            ]
        )
    return rows


def alarm_table(alarms: dict[str, AlarmRecord]) -> Rows:
    """A row an alarm: how often it came, how often it was right, and how early."""
    rows = [["alarm", "runs", "hacked", "came", "came in hacked ones", "precision", "recall", "median lead, steps"]]
    for name, found in alarms.items():
        counts = [str(n) for n in (found.runs, found.hacked, found.fired, found.right)]
        rates = [NOTHING if rate is None else percent(rate) for rate in (found.precision, found.recall)]
        rows.append([name, *counts, *rates, NOTHING if found.lead is None else signed(found.lead, 0)])
    return rows


def _followed(run: HackingRun, series: str, colour: int) -> Followed:
    points = [(e.step, value) for e in run.curve if e.step > 0 and (value := _value(e, series) or 0.0) > 0]
    line = charts.Lines(SERIES[series], [step for step, _ in points], [value for _, value in points], colour)
    return Followed(line, run.laws.get(series))


def _value(evaluation: Evaluation, series: str) -> float | None:
    value: float | None = getattr(evaluation, series)
    return value


def _keys(lines: Sequence[charts.Lines]) -> list[Key]:
    return [Key(line.label, line.series) for line in lines]


def _mean(runs: Sequence[HackingRun], name: str) -> str:
    value = fmean(getattr(run, name) for run in runs)
    return number(value, decimals([value]))


def _share(measured: Measured | None, *, sign: bool = False) -> str:
    if measured is None:
        return NOTHING
    write = signed if sign else number
    said = f"{write(100 * measured.value, 1)} %"
    ends = f" ({number(100 * measured.low, 1)} to {number(100 * measured.high, 1)})"
    return said + (ends if measured.n > 1 else "")  # one seed has no interval
