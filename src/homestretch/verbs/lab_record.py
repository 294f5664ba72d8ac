"""From the logs of the lab's runs to its record: curves, turns, laws, alarms, and what they say together."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from homestretch.alarms.divergence import diverged
from homestretch.alarms.hindsight import hindsight, rise
from homestretch.config.lab import BASELINE, Case, LabConfig
from homestretch.lab import AlarmRecord, Evaluation, Hacking, HackingCase, HackingRun, LabFolder
from homestretch.metrics.stats import bootstrap_mean
from homestretch.report.curves import ALARM
from homestretch.report.proxies import law_of
from homestretch.results import Measured
from homestretch.training.alarms import NLL
from homestretch.writing import write_rows

STAGE = "distill"
SERIES = ("golden", "proxy", "training")
LAW, GOLDEN = "power law of ", "golden signal"
WORSE = re.compile(rf"Alarm \({GOLDEN}\): `[^`]+` is at its best while `([^`]+)`")
DOCTOR = ("power law", "generalisation gap", f"{GOLDEN}, eval/golden", f"{GOLDEN}, {NLL}")
"""What the run doctor can say of a stage `distill` with an oracle; what it never said is told too."""


def curve_of(rows: Sequence[Mapping[str, Any]]) -> list[Evaluation]:
    """Evaluations of a log, each with the mean of the training losses since the one before."""
    found, since = [], []
    for row in rows:
        if (loss := row.get("divergence", row.get("nll"))) is not None:
            since.append(float(loss))
        if row.get("eval/golden_jsd") is None:
            continue
        found.append(
            Evaluation(
                step=row["step"],
                golden=row.get("eval/golden"),
                proxy=row.get("eval/proxy"),
                golden_jsd=row["eval/golden_jsd"],
                proxy_jsd=row["eval/proxy_jsd"],
                training=fmean(since) if since else None,
                length_ratio=row.get("eval/length_ratio"),
            )
        )
        since = []
    return found


def series_of(curve: Sequence[Evaluation], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one series; golden and proxy are the Jensen-Shannon ones where a divergence is infinite."""
    key = name if all(getattr(e, name, 0.0) is not None for e in curve) or name == "training" else f"{name}_jsd"
    points = [(e.step, getattr(e, key)) for e in curve if getattr(e, key) is not None]
    return [step for step, _ in points], [float(value) for _, value in points]


def run_record(rows: Sequence[Mapping[str, Any]]) -> HackingRun:
    """What one log says."""
    curve = curve_of(rows)
    (steps, golden), (_, proxy) = series_of(curve, "golden"), series_of(curve, "proxy")
    turn = rise(golden)
    laws = {name: law_of(*series_of(curve, name)) for name in SERIES}
    alarms: dict[str, int] = {}
    for row in rows:
        if name := said_by(row.get("doctor") or ""):
            alarms.setdefault(name, row["step"])
    return HackingRun(
        curve=curve,
        best_step=steps[turn.best],
        golden_min=turn.smallest,
        golden_last=turn.last,
        rise=turn.share,
        proxy_at_best=proxy[turn.best],
        proxy_last=proxy[-1],
        hacked=diverged(proxy, golden) is not None,
        laws={name: law for name, law in laws.items() if law},
        alarms=alarms,
    )


def said_by(sentence: str) -> str | None:
    """Name of the alarm that this is a sentence of, a golden signal with the key that got worse; None for others."""
    if worse := WORSE.match(sentence):
        return f"{GOLDEN}, {worse[1]}"
    named = ALARM.match(sentence)
    return named[1] if named else None


def record_of(
    folder: LabFolder, cases: Mapping[str, Case], lab: LabConfig, *, seeds: Sequence[int], **known: Any
) -> Hacking:
    """The record of all runs, whose curves are written too; `known` are fields of it that stand fast."""
    runs: dict[str, dict[int, HackingRun]] = {}
    teachers: dict[int, float | None] = {}
    for name in cases:
        for seed in seeds:
            stage = folder.run(name, seed).stage(1, STAGE)
            rows = [json.loads(line) for line in stage.metrics.read_text("utf-8").splitlines()]
            runs.setdefault(name, {})[seed] = made = run_record(rows)
            write_rows(folder.curve(name, seed), [e.model_dump() for e in made.curve])
            teachers[seed] = json.loads((stage.path / "distances.json").read_text("utf-8"))["teacher"]["golden"]
    records = {name: _case(case, lab, runs[name], runs[BASELINE], name) for name, case in cases.items()}
    record = Hacking(
        seeds=list(seeds),
        golden_of_teacher=teachers,
        cases=records,
        alarms=alarm_records([run for by_seed in runs.values() for run in by_seed.values()]),
        **known,
    )
    return record.model_copy(update={"sentence": sentence(record)})


def _case(
    case: Case, lab: LabConfig, runs: dict[int, HackingRun], baseline: dict[int, HackingRun], name: str
) -> HackingCase:
    more = None
    if name != BASELINE:
        more = measured([run.rise - baseline[seed].rise for seed, run in runs.items()])
    return HackingCase(
        sweep=case.sweep,
        prompts=max(lab.distill_prompts // case.divide, 1),
        generations=int(case.settings.get("num_generations", case.divide)),
        runs=runs,
        rise=measured([run.rise for run in runs.values()]),
        more_than_baseline=more,
    )


def measured(values: Sequence[float]) -> Measured:
    """A mean over seeds with its bootstrap interval, which few seeds make too narrow."""
    mean = bootstrap_mean(values, seed=0)
    return Measured(value=mean.value, low=mean.low, high=mean.high, n=len(values), higher_is_better=False)


def alarm_records(runs: Sequence[HackingRun]) -> dict[str, AlarmRecord]:
    """How good each alarm was: those of the run doctor, and the power law of each series by itself."""
    turns = [float(run.best_step) if run.hacked else None for run in runs]
    said: dict[str, list[float | None]] = {
        f"{LAW}{name}": [run.laws[name].raised if name in run.laws else None for run in runs] for name in SERIES
    }
    for name in sorted({*DOCTOR, *(name for run in runs for name in run.alarms)}):
        said[f"run doctor: {name}"] = [float(run.alarms[name]) if name in run.alarms else None for run in runs]
    return {name: AlarmRecord(**hindsight(steps, turns)._asdict()) for name, steps in said.items()}


def sentence(record: Hacking) -> str:
    """Which cases were hacked, and how much more than the baseline the others rose."""
    parts = []
    for name, case in record.cases.items():
        hacked = sum(run.hacked for run in case.runs.values())
        parts.append(f"`{name}` in {hacked} of {len(case.runs)}")
    first = record.cases[BASELINE]
    return (
        f"Runs in which the golden distance rose while the proxy was at its smallest: {', '.join(parts)}. With "
        f"`{BASELINE}` texts it ended {first.rise.value:.0%} (95 % interval {first.rise.low:.0%} to "
        f"{first.rise.high:.0%} over {first.rise.n} {'seed' if first.rise.n == 1 else 'seeds'}) above its smallest."
    )
