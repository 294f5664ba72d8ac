"""What the logs of `run.py` say: whether a run was hacked and when, when alarms would have spoken, and the tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from homestretch.alarms.divergence import diverged, scatter
from homestretch.alarms.hindsight import hindsight, rise
from homestretch.cli.summary import columns
from homestretch.config.training import TrainingConfig
from homestretch.metrics.stats import bootstrap_mean
from homestretch.training.alarms import ALARMS, SCATTERS, Watched, watched
from homestretch.training.doctor import CHECKS

Row = dict[str, Any]
GOLD, PROXY, KL, METRIC = "objective/golden/strong", "reward", "objective/kl", "la_rougeL"
BLOCKS = 12
"""Parts of a run whose means say whether it was hacked."""
START, STOPPED = "start", ("stopped", "stopped_blind")
"""What is no run of PPO, and the runs that the doctor may end."""


class Course(NamedTuple):
    """What the log of a run says: rounds that it took, means of the strong score in its first, best and last part, of
    reward and KL in the last one, and the round at which the strong score was best if the run was hacked."""

    rounds: int
    first: float
    best: float
    last: float
    reward: float
    kl: float
    turn: int | None


def course(rows: Sequence[Row]) -> Course:
    """The course of a run by its log."""
    made = [row for row in rows if GOLD in row]
    step_N, gold_N, proxy_N, kl_N = (np.array([row[key] for row in made]) for key in ("step", GOLD, PROXY, KL))
    count = min(BLOCKS, len(made))

    def parts(value_N: np.ndarray) -> np.ndarray:
        return np.array([part.mean() for part in np.array_split(value_N, count)])

    chance = SCATTERS / (len(made) / count) ** 0.5
    turn = diverged(
        -parts(proxy_N), -parts(gold_N), noise_proxy=chance * scatter(proxy_N), noise_golden=chance * scatter(gold_N)
    )
    best = rise(-parts(gold_N)).best
    ends = [int(part[-1]) for part in np.array_split(step_N, count)]
    first, highest, last = (float(parts(gold_N)[i]) for i in (0, best, -1))
    return Course(
        rounds=len(made),
        first=first,
        best=highest,
        last=last,
        reward=float(parts(proxy_N)[-1]),
        kl=float(parts(kl_N)[-1]),
        turn=ends[best] if turn else None,
    )


def heard(rows: Sequence[Row], config: TrainingConfig) -> dict[str, int | None]:
    """The round at which each alarm of the stage would have spoken first, each signal by itself."""
    seen = watched(config)
    signals = {f"golden signal, {pair.golden}": ("golden_signal", Watched(goldens=(pair,))) for pair in seen.goldens}
    signals |= {f"over-optimisation, {key}": ("over_optimisation", Watched(rewards=(key,))) for key in seen.rewards}
    grown = [list(rows[:n]) for n in range(1, len(rows) + 1)]
    found = {
        name: next((part[-1]["step"] for part in grown if ALARMS[alarm](part, watch)), None)
        for name, (alarm, watch) in signals.items()
    }
    older = (part[-1]["step"] for part in grown if CHECKS["divergence"](part, METRIC))
    return found | {f"reward against {METRIC}": next(older, None)}


def alarm_table(seeds: Sequence[Mapping[str, Row]]) -> dict[str, Row]:
    """How good each alarm was over the runs without a stop (see `alarms.hindsight`)."""
    runs = [run for found in seeds for name, run in found.items() if name not in (START, *STOPPED)]
    turns = [run["turn"] for run in runs]
    return {name: hindsight([run["alarms"][name] for run in runs], turns)._asdict() for name in runs[0]["alarms"]}


def against(seeds: Sequence[Mapping[str, Row]]) -> dict[str, dict[str, Row]]:
    """What the strong model says of kept models: those that were stopped minus the others, over seeds."""

    def difference(a: str, b: str) -> Row:
        gains = [found[a]["samples"]["strong"] - found[b]["samples"]["strong"] for found in seeds]
        return bootstrap_mean(gains, seed=0)._asdict() | {"seeds": gains}

    others = [name for name in seeds[0] if name not in STOPPED]
    return {name: {other: difference(name, other) for other in others} for name in STOPPED}


def tables(seeds: Sequence[Mapping[str, Row]], alarms: Mapping[str, Row], gains: Mapping[str, Any]) -> list[str]:
    """Means over seeds for readers."""

    def mean(name: str, *path: str) -> str:
        values = [found[name] if len(path) == 1 else found[name][path[0]] for found in seeds]
        return f"{statistics.fmean(value[path[-1]] for value in values):.2f}"

    fields = ["rounds", "kl", "reward", "first", "best", "last", "kept"]
    ways = [["way", "hacked", *fields, "weak, samples", "strong, samples"]]
    for name in seeds[0]:
        known = [""] * (1 + len(fields))
        if name != START:
            hacked = sum(found[name]["turn"] is not None for found in seeds)
            known = [str(hacked), *(mean(name, field) for field in fields)]
        ways.append([name, *known, *(mean(name, "samples", judge) for judge in ("weak", "strong"))])
    heads = ["runs", "hacked", "fired", "right", "lead"]
    spoken = [["alarm", *heads], *([name, *(str(row[head]) for head in heads)] for name, row in alarms.items())]
    differences = [["strong score of kept models", "difference", "low", "high"]]
    for name, others in gains.items():
        for other, row in others.items():
            differences.append([f"{name} - {other}", *(f"{row[key]:+.2f}" for key in ("value", "low", "high"))])
    return [columns(ways), columns(spoken), columns(differences)]
