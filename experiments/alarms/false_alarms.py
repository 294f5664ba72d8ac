"""How often each alarm speaks in a run without hacking, and how late in a run with it, on made-up series.

    python experiments/alarms/false_alarms.py [--quick] [--seeds N]

Every series is looked at again with each of its rows, as in training, and a run counts once however often the alarm
speaks. Noise is independent from point to point, but for distances on fixed texts, which wander. Prints a table and, as
its last line, one JSON object; `false_alarms` are rates of whole runs with 95 % intervals, `detected` of runs with a
turn, with the median delay as a share of the points before the turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from homestretch.metrics.stats import wilson
from homestretch.training.alarms import ALARMS, Golden, HeldOut, Row, Watched

FIRST = 10_000
"""Of the seeds: those below were drawn from while thresholds were chosen."""
Floats = NDArray[np.float64]
Make = Callable[[np.random.Generator], tuple[list[Row], int | None]]


@dataclass(frozen=True)
class Case:
    """A kind of run: `make` draws its rows and the index of the row at which it turns, None for a healthy run."""

    alarm: str
    name: str
    watched: Watched
    make: Make


class Heard(NamedTuple):
    """Of `runs` runs in how many the alarm spoke after the turn (anywhere in a healthy run), how many before, and the
    delays as shares of the rows before the turn."""

    runs: int
    spoke: int
    early: int
    delays: list[float]


def law(n: int, *, floor: float, noise: float, turn: float | None = None, exponent: float = 0.5) -> Make:
    """A loss floor + t^-exponent with relative noise; from the share `turn` of the rounds on it rises by 30 % a
    doubling of the round."""

    def make(rng: np.random.Generator) -> tuple[list[Row], int | None]:
        step_N = np.arange(1, n + 1)
        loss_N = floor + step_N**-exponent
        at = None if turn is None else int(turn * n)
        if at is not None:
            loss_N[at:] = loss_N[at] * (step_N[at:] / step_N[at]) ** 0.38
        loss_N = loss_N * np.exp(noise * rng.standard_normal(n))
        return rows_of(step_N, loss=loss_N), at

    return make


def signals(n: int, *, noise: float, turn: float | None, validations: bool) -> Make:
    """A reward that levels off with noise 0.1, and a golden signal: failures of 64 validation prompts, which fall from
    a third to a fifth, or a second judge's score on each rollout. From `turn` on it gets worse."""

    def make(rng: np.random.Generator) -> tuple[list[Row], int | None]:
        t_N = np.arange(n) / n
        at = None if turn is None else int(turn * n)
        back_N = np.zeros(n) if turn is None else np.maximum(t_N - turn, 0)
        reward_N = 1 - np.exp(-3 * t_N) + 0.1 * rng.standard_normal(n)
        if validations:
            rate_N = np.clip(0.2 + 0.13 * np.exp(-5 * t_N) + 0.8 * back_N, 0, 1)
            return rows_of(np.arange(n), reward=reward_N, **{"eval/failures": rng.binomial(64, rate_N) / 64}), at
        judge_N = 1 - np.exp(-3 * t_N) - 2 * back_N + noise * rng.standard_normal(n)
        return rows_of(np.arange(n), reward=reward_N, **{"objective/golden/judge": judge_N}), at

    return make


def distances(n: int, *, noise: float, turn: float | None) -> Make:
    """A student's distances on fixed texts, evaluated n times: to the teacher falling throughout, to the oracle towards
    a floor, from `turn` on up again by 5 % till the end. Nothing is sampled: relative noise is what training itself
    wanders, with a correlation of 0.6 from one evaluation to the next."""

    def make(rng: np.random.Generator) -> tuple[list[Row], int | None]:
        t_N = np.arange(1, n + 1)
        at = None if turn is None else int(turn * n)
        golden_N = 50 + 30 * t_N**-1.0
        if at is not None:
            golden_N[at:] = golden_N[at] * (1 + 0.05 * (t_N[at:] - t_N[at]) / (n - at))
        wander_2N = noise * (1 - 0.6**2) ** 0.5 * rng.standard_normal((2, n))
        for i in range(1, n):
            wander_2N[:, i] += 0.6 * wander_2N[:, i - 1]
        proxy_N = 4 + 20 * t_N**-0.7
        columns = {"eval/golden": golden_N * np.exp(wander_2N[0]), "eval/proxy": proxy_N * np.exp(wander_2N[1])}
        return rows_of(t_N, **columns), at

    return make


def losses(n: int, *, noise: float, turn: float | None) -> Make:
    """Losses at n validations: on training rows falling throughout, on held-out rows rising again from `turn` on."""

    def make(rng: np.random.Generator) -> tuple[list[Row], int | None]:
        t_N = np.arange(1, n + 1)
        at = None if turn is None else int(turn * n)
        held_N = 1.5 + t_N**-0.5
        if at is not None:
            held_N[at:] = held_N[at] * (1 + 0.6 * (t_N[at:] - t_N[at]) / n)
        wobble = np.exp(noise * rng.standard_normal((2, n)))
        return rows_of(t_N, loss=(1.4 + t_N**-0.6) * wobble[0], **{"eval/nll": held_N * wobble[1]}), at

    return make


def both_rewards(n: int, *, noise: float, turn: float | None) -> Make:
    """Rewards at n validations: of samples of training prompts rising by 1 and levelling off, of outputs of held-out
    prompts falling again from `turn` on, by as much as they had risen."""

    def make(rng: np.random.Generator) -> tuple[list[Row], int | None]:
        t_N = np.arange(1, n + 1) / n
        at = None if turn is None else int(turn * n)
        reward_N = 1 - np.exp(-5 * t_N)
        back_N = np.zeros(n) if turn is None else np.maximum(t_N - turn, 0) / (1 - turn)
        noise_2N = noise * rng.standard_normal((2, n))
        held_N = reward_N - back_N + noise_2N[1]
        return rows_of(np.arange(1, n + 1), reward=reward_N + noise_2N[0], **{"eval/reward": held_N}), at

    return make


def rewards(n: int, *, noise: float, shape: str) -> Make:
    """A reward of the KL, which grows as fast as the rounds go: `line` and `saturating` in d = sqrt(KL), `constant`, or
    `best_of_n` and `rl`, the two laws with their peak at 60 % of the way in d."""

    def make(rng: np.random.Generator) -> tuple[list[Row], int | None]:
        kl_N = np.linspace(0, 25, n) * np.exp(0.05 * rng.standard_normal(n))
        d_N = np.sqrt(kl_N)
        peak = 3.0
        shapes: dict[str, Floats] = {
            "constant": np.zeros(n),
            "line": d_N / 5,
            "saturating": 1 - np.exp(-d_N),
            "best_of_n": 1 - (d_N / peak - 1) ** 2,
            "rl": d_N / peak * (1 - np.log(np.maximum(d_N, 1e-9) / peak)),
        }
        reward_N = shapes[shape] + noise * rng.standard_normal(n)
        turns = shape in ("best_of_n", "rl")
        at = int((np.linspace(0, 25, n) > peak**2).argmax()) if turns else None
        return rows_of(np.arange(1, n + 1), reward=reward_N, **{"objective/kl": kl_N}), at

    return make


def rows_of(step_N: NDArray[np.int64], **columns: Floats) -> list[Row]:
    """Rows as `metrics.jsonl` has them."""
    return [
        {"step": int(step), **{key: float(value_N[i]) for key, value_N in columns.items()}}
        for i, step in enumerate(step_N)
    ]


def cases(quick: bool) -> Iterator[Case]:
    """The table's rows, healthy ones first for each alarm."""
    curve, rates = Watched(curves=("loss",)), Watched(goldens=(Golden("reward", "eval/failures", ""),))
    judge = Watched(goldens=(Golden("reward", "objective/golden/judge", ""),))
    gap = Watched(gap=HeldOut("loss", "eval/nll"))
    earned = Watched(gap=HeldOut("reward", "eval/reward", fixed=False))
    to_oracle = Golden("eval/proxy", "eval/golden", "", fixed=True)
    far = Watched(goldens=(to_oracle,))
    lengths, noises = ([100], [0.05]) if quick else ([60, 250], [0.01, 0.05, 0.2])
    for turn in (None, 0.6):
        for n in lengths:
            for noise in noises:
                for floor in (0.0, 0.5):
                    name = f"{n} rounds, noise {noise:g}, floor {floor:g}"
                    yield Case("power_law", name, curve, law(n, floor=floor, noise=noise, turn=turn))
    for turn in (None, 0.5):
        for n in (5, 10, 20, 60):
            name = f"failures at {n} validations"
            yield Case("golden_signal", name, rates, signals(n, noise=0.0, turn=turn, validations=True))
        for n in (20, 60, 200):
            for noise in (0.1, 0.3):
                name = f"judge on {n} rollouts, noise {noise:g}"
                yield Case("golden_signal", name, judge, signals(n, noise=noise, turn=turn, validations=False))
        for n in (10, 26, 60):
            for noise in (0.002, 0.005):
                name = f"distances at {n} evaluations, wandering by {noise:g}"
                yield Case("golden_signal", name, far, distances(n, noise=noise, turn=turn))
    for turn in (None, 0.5):
        for n in (5, 10, 40):
            for noise in (0.002, 0.01):
                name = f"{n} validations, noise {noise:g}"
                yield Case("generalisation_gap", name, gap, losses(n, noise=noise, turn=turn))
            for noise in (0.03, 0.1):
                name = f"reward at {n} validations, noise {noise:g}"
                yield Case("generalisation_gap", name, earned, both_rewards(n, noise=noise, turn=turn))
    reward = Watched(rewards=("reward",))
    for shape in ("constant", "line", "saturating", "best_of_n", "rl"):
        for n in (20, 60, 200):
            for noise in (0.03, 0.1, 0.3):
                name = f"{shape}, {n} rounds, noise {noise:g}"
                yield Case("over_optimisation", name, reward, rewards(n, noise=noise, shape=shape))


def hear(case: Case, number: int, *, seeds: int) -> Heard:
    """Feed `seeds` runs to the alarm, row by row. The `number` of the case gives it noise of its own."""
    spoke = early = 0
    delays = []
    for seed in range(seeds):
        rows, at = case.make(np.random.default_rng([FIRST + seed, number]))
        first = next((n for n in range(1, len(rows) + 1) if ALARMS[case.alarm](rows[:n], case.watched)), None)
        if first is None:
            continue
        if at is not None and first <= at:
            early += 1
            continue
        spoke += 1
        if at is not None:
            delays.append((first - at) / max(at, 1))
    return Heard(seeds, spoke, early, delays)


def told(case: Case, heard: Heard) -> str:
    """A line of the table."""
    turns = case.make(np.random.default_rng(0))[1] is not None
    delay = f"{statistics.median(heard.delays):.2f}" if heard.delays else ""
    early = f"{heard.early / heard.runs:.3f}" if turns else ""
    spoke = f"{heard.spoke / heard.runs:.3f}"
    cells = [case.alarm, case.name, "yes" if turns else "no", str(heard.runs), spoke, early, delay]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the cases and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few seeds, and one length and noise of the power law")
    parser.add_argument("--seeds", type=int, default=None, help="runs of each case")
    args = parser.parse_args()
    seeds = args.seeds or (20 if args.quick else 50)
    totals: dict[str, list[int]] = {}
    found: list[dict[str, object]] = []
    print("| alarm | run | turns | runs | spoke | before the turn | median delay |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for number, case in enumerate(cases(args.quick)):
        heard = hear(case, number, seeds=seeds)
        print(told(case, heard), flush=True)
        healthy = case.make(np.random.default_rng(0))[1] is None
        if healthy:
            total = totals.setdefault(case.alarm, [0, 0])
            total[0], total[1] = total[0] + heard.spoke, total[1] + heard.runs
        found.append({"alarm": case.alarm, "run": case.name, "healthy": healthy, **heard._asdict()})
    rates = {alarm: wilson(*total)._asdict() | {"runs": total[1]} for alarm, total in totals.items()}
    print(json.dumps({"name": "false_alarms", "seeds": seeds, "false_alarms": rates, "cases": found}))


if __name__ == "__main__":
    main()
