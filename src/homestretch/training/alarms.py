"""The alarms of a training run: what each stage's log is watched for, and the sentence where one is raised.

The mathematics and the thresholds are in `homestretch.alarms`; here stands which series of `metrics.jsonl` they read.
Each sentence starts with `Alarm (name)`, which is what the report marks in the curves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from homestretch.alarms.divergence import diverged, scatter
from homestretch.alarms.gap import widened
from homestretch.alarms.overoptimisation import turned
from homestretch.alarms.power_law import Break, blocks, left_law
from homestretch.config.distill import DistillConfig
from homestretch.config.reward import RewardConfig
from homestretch.config.rollouts import RolloutConfig
from homestretch.config.stages import kind_of
from homestretch.config.training import TrainingConfig
from homestretch.training.quantities import direction, least

Row = dict[str, Any]
Said = dict[str, str]
"""What an alarm says, by the key of the signal that it says it of."""
NLL = "eval/nll"
KL = "objective/kl"
CURVES = {
    "sft": ("loss", NLL),
    "wbc": ("nll", NLL),
    "alol": ("nll", NLL),
    "reward": ("loss",),
    "value": ("loss",),
    "dpo": ("loss",),
    "modpo": ("loss",),
    "distill": ("divergence", "nll"),
}
"""Losses that fall while a stage learns. Not those of `ift` and `gold`, whose shares and weights move them too."""
GAPS = {
    **dict.fromkeys(("ift", "wbc", "gold", "alol"), ("nll", NLL)),
    "sft": ("loss", NLL),
    "value": ("loss", "eval/mse"),
    **dict.fromkeys(("reward", "dpo", "modpo", "distill"), ("loss", "eval/loss")),
}
"""The same loss on the rows that are trained on and on held-out ones, which stay the same."""
ENOUGH = 10
"""Evaluations from which on their own scatter says what chance does."""
SCATTERS = 4.0
"""A running minimum of noise lies two to three standard deviations low, so that fewer than four are no news."""
PARTS = 12
"""The best of many noisy evaluations is lower than that of few, however many scatters are allowed: means of parts, at
least so many and fewer than twice as many, are not, and they know smaller changes (`experiments/alarms`)."""


@dataclass(frozen=True)
class Golden:
    """A `proxy` that should get better together with a `golden` signal that is not trained on. Both are `fixed` where
    each evaluation reads the same texts: then nothing is chance. `finite` are two keys that stand for them where one of
    them is infinite and not logged."""

    proxy: str
    golden: str
    advice: str
    fixed: bool = False
    finite: tuple[str, str] | None = None


@dataclass(frozen=True)
class HeldOut:
    """What is trained on, and the `same` of held-out rows. With `fixed` texts nothing but training moves the latter."""

    training: str
    same: str
    fixed: bool = True


@dataclass(frozen=True)
class Watched:
    """Keys of the log by alarm; `rewards` are fitted against the KL."""

    curves: tuple[str, ...] = ()
    gap: HeldOut | None = None
    goldens: tuple[Golden, ...] = ()
    rewards: tuple[str, ...] = ()


def watched(config: TrainingConfig, *, held_out: str | None = None) -> Watched:
    """What the stage with these settings is watched for; `held_out` is the failure mode a reward model never saw."""
    kind, metric = kind_of(config), f"eval/{config.metric_for_best_model}"
    curves, goldens = CURVES.get(kind, ()), list[Golden]()
    if isinstance(config, RolloutConfig):
        advice = "raise kl_coef (beta in `grpo`), add harder negatives, or keep the best checkpoint"
        goldens = [Golden("reward", "eval/failures", advice)]
        goldens += [Golden("reward", f"objective/golden/{name}", advice) for name in config.golden]
        gap = HeldOut("reward", "eval/reward", fixed=False)
        return Watched(gap=gap, goldens=tuple(goldens), rewards=("reward", metric))
    if kind in ("dpo", "modpo"):
        advice = "raise beta or lower num_train_epochs, or keep the best checkpoint"
        # The loss of held-out pairs is no golden signal but the pairs' own; the gap looks at it.
        goldens = [Golden("margin", "eval/failures" if metric == "eval/loss" else metric, advice)]
    if isinstance(config, DistillConfig):
        advice = "let `source` have online texts, raise num_generations, or keep the best checkpoint"
        loss = "nll" if config.divergence == "sequence" else "divergence"
        goldens = [Golden(loss, NLL, advice)]
        if config.oracle_name_or_path is not None:
            far = "eval/proxy", "eval/golden"
            finite = "eval/proxy_jsd", "eval/golden_jsd"
            goldens.insert(0, Golden(*far, advice, fixed=True, finite=finite))
            curves += ("eval/proxy", "eval/golden")
    if kind == "reward" and held_out is not None:
        advice = "lower num_train_epochs, or add classes to `negatives`: it learns the marks of the trained modes"
        goldens = [Golden("eval/auroc", f"eval/auroc/{held_out}", advice)]
    gap = HeldOut(*GAPS[kind]) if kind in GAPS else None
    if isinstance(config, RewardConfig) and config.contrast is not None:
        gap = HeldOut("loss/reward", "eval/loss")
    return Watched(curves, gap, tuple(goldens))


def power_law(rows: list[Row], seen: Watched) -> Said:
    """A loss lies above what its own first half predicts."""
    said = {}
    for key in seen.curves:
        points = [(step, value) for step, value in numbers(rows, key) if is_point(step, value)]
        whole = blocks([step for step, _ in points], [value for _, value in points])
        if found := _left(*(tuple(column_B.tolist()) for column_B in whole)):
            said[key] = (
                f"Alarm (power law): `{key}` has stood above its power law since round {found.step:.0f} "
                f"({found.seen:.3g} where {found.expected:.3g} was expected): lower learning_rate, end the stage "
                "earlier, or give more and more varied data."
            )
    return said


def golden_signal(rows: list[Row], seen: Watched) -> Said:
    """A proxy is at its best while a signal that it stands for gets worse."""
    said = {}
    for pair in seen.goldens:
        keys = pair.proxy, pair.golden
        if pair.finite and not evaluations(rows, *keys)[0]:
            keys = pair.finite
        steps, proxy, golden = evaluations(rows, *keys)
        proxy, golden = falling(keys[0], proxy), falling(keys[1], golden)
        if pair.fixed:
            found = diverged(proxy, golden)
        elif len(golden) < ENOUGH and not least(keys[1]):
            continue  # nothing says yet what chance does
        else:
            size = max(len(golden) // PARTS, 1)
            steps = steps[len(steps) % size :][size - 1 :: size]
            found = diverged(
                means(proxy, size),
                means(golden, size),
                noise_proxy=chance(proxy) / size**0.5,
                noise_golden=max(chance(golden) / size**0.5, least(keys[1])),
            )
        if found:
            best, last = falling(keys[1], [found.smallest, found.last])
            said[pair.golden] = (
                f"Alarm (golden signal): `{keys[0]}` is at its best while `{keys[1]}`, which is not trained on, "
                f"has got worse since round {steps[found.best]:.0f} ({best:.3g} to {last:.3g}): {pair.advice}."
            )
    return said


def generalisation_gap(rows: list[Row], seen: Watched) -> Said:
    """A held-out loss rises, or a reward falls, while that of training does not follow."""
    pair = seen.gap
    if pair is None:
        return {}
    steps, training, held_out = evaluations(rows, pair.training, pair.same)
    if not pair.fixed and len(held_out) < ENOUGH:
        return {}  # nothing says yet what chance does
    training, held_out = falling(pair.same, training), falling(pair.same, held_out)
    found = widened(training, held_out, noise=chance(held_out))
    if found is None:
        return {}
    moved, where = ("risen", "above") if direction(pair.same) < 0 else ("fallen", "below")
    best, last = falling(pair.same, [found.smallest, found.last])
    sentence = (
        f"Alarm (generalisation gap): `{pair.same}` has {moved} since round {steps[found.best]:.0f} "
        f"({best:.3g} to {last:.3g}) and is {found.gap:.3g} {where} `{pair.training}` of the training rows"
        ": lower num_train_epochs or learning_rate, or give more and more varied data."
    )
    return {pair.same: sentence}


def over_optimisation(rows: list[Row], seen: Watched) -> Said:
    """A reward or metric has got worse since the best value that its law of the KL has."""
    said = {}
    for key in seen.rewards:
        kl, reward = distances(rows, key)
        sign = direction(key)
        if found := turned(kl, [sign * value for value in reward]):
            term = "beta ln d" if found.law.form == "rl" else "beta d"
            peak, moved = ("peak", "fallen") if sign > 0 else ("lowest point", "risen")
            said[key] = (
                f"Alarm (over-optimisation): `{key}` follows d (alpha - {term}), d = sqrt(KL), with its {peak} at "
                f"{found.peak_kl:.3g} nats, and at {found.kl:.3g} nats has {moved} from {sign * found.highest:.3g} to "
                f"{sign * found.last:.3g}: raise kl_coef (beta in `grpo`), lower learning_rate, or keep the best "
                "checkpoint."
            )
    return said


ALARMS: dict[str, Callable[[list[Row], Watched], Said]] = {
    "power_law": power_law,
    "golden_signal": golden_signal,
    "generalisation_gap": generalisation_gap,
    "over_optimisation": over_optimisation,
}


def numbers(rows: list[Row], key: str) -> Iterator[tuple[int, float]]:
    """Round and value of each row that has the key."""
    return ((row["step"], float(row[key])) for row in rows if row.get(key) is not None)


def is_point(step: int, value: float) -> bool:
    """Whether a power law can hold there: it has no value at round 0, and a loss of 0 has no logarithm."""
    return step > 0 and value > 0


def falling(key: str, values: list[float]) -> list[float]:
    """Values of a quantity with the sign that makes smaller ones better, and back again."""
    return [-direction(key) * value for value in values]


def chance(values: list[float]) -> float:
    """How far evaluations may be from their best by chance, in their unit; 0 while there are too few to tell."""
    return SCATTERS * scatter(values) if len(values) >= ENOUGH else 0.0


def means(values: list[float], size: int) -> list[float]:
    """Means of so many values each, the last of them up to the end; what does not fill one is left out at the start."""
    first = len(values) % size
    return [sum(values[i : i + size]) / size for i in range(first, len(values), size)]


def evaluations(rows: list[Row], proxy: str, golden: str) -> tuple[list[int], list[float], list[float]]:
    """Round, proxy and golden signal of each row with the latter; the proxy is the mean of its values since the one
    before. A golden value before the first of the proxy is left out."""
    found: list[tuple[int, float, float]] = []
    since: list[float] = []
    for row in rows:
        if row.get(proxy) is not None:
            since.append(float(row[proxy]))
        if row.get(golden) is not None and since:
            found.append((row["step"], sum(since) / len(since), float(row[golden])))
            since = []
    steps, proxies, goldens = zip(*found, strict=True) if found else ((), (), ())
    return list(steps), list(proxies), list(goldens)


def distances(rows: list[Row], key: str) -> tuple[list[float], list[float]]:
    """KL in nats and value of each row with the key; the KL is that of its rollout or of the last one before.

    Before the first rollout the policy is the reference.
    """
    kl, found = 0.0, []
    for row in rows:
        kl = kl if row.get(KL) is None else float(row[KL])
        if row.get(key) is not None:
            found.append((kl, float(row[key])))
    return [distance for distance, _ in found], [value for _, value in found]


# Rows come one by one, and blocks are the same until the next is full.
@lru_cache(maxsize=8)
def _left(steps: tuple[float, ...], values: tuple[float, ...]) -> Break | None:
    return left_law(steps, values)
