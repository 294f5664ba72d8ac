"""The run doctor: watches a run and says in one sentence which knob to turn.

Each check looks at the rows of `metrics.jsonl` of one stage, and so do the alarms (`training.alarms`), at several
signals each. A sentence is given once, until its cause has gone away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from homestretch.config.training import TrainingConfig
from homestretch.training.alarms import ALARMS, KL, Watched, watched
from homestretch.training.asked import Asked, alarms, at_ends, has
from homestretch.training.quantities import SHARES, direction, least

Row = dict[str, Any]
RECENT = 3
STOPS = {"divergence", *ALARMS}
"""What may end a run: the checks that say that more training makes the model worse."""


@dataclass
class Doctor:
    """Feed it rows with `watch`; it answers with the sentences that are new, and whether to stop.

    `metric` is the validation metric that should get better with the reward. `stop` ends a run when one of `STOPS`
    speaks, and `watched` says which series the alarms read.
    """

    metric: str
    stop: bool = False
    watched: Watched = field(default_factory=Watched)
    said: set[tuple[str, str]] = field(default_factory=set)
    asked: list[tuple[str, Asked]] = field(init=False)

    def __post_init__(self) -> None:
        self.asked = [*checks(self.metric), *alarms(self.watched)]

    def watch(self, row: Row) -> tuple[list[str], bool]:
        """Look at one more row."""
        found = {(name, signal): sentence for name, one in self.asked for signal, sentence in one.see(row).items()}
        new = {cause: sentence for cause, sentence in found.items() if cause not in self.said}
        self.said = set(found)
        return list(new.values()), self.stop and not STOPS.isdisjoint(name for name, _ in new)


def watcher(config: TrainingConfig, *, held_out: str | None = None) -> Callable[[Row], tuple[list[str], bool]] | None:
    """The doctor of a stage with these settings (see `watched`), as `Plan.watch` takes it; None where it is off."""
    if config.doctor == "off":
        return None
    seen = watched(config, held_out=held_out)
    return Doctor(config.metric_for_best_model, stop=config.doctor == "stop", watched=seen).watch


def series(rows: list[Row], key: str) -> list[float]:
    """The values of one key, in time order."""
    return [float(row[key]) for row in rows if row.get(key) is not None]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def negative_kl(rows: list[Row], metric: str) -> str | None:
    """KL of a rollout is an average of log-ratios over its own samples and cannot stay below zero."""
    recent = series(rows, "objective/kl")[-RECENT:]
    if len(recent) == RECENT and max(recent) < -0.1:
        return (
            f"The KL to the reference has been negative for {RECENT} rounds ({_mean(recent):.2f} nats): samples are "
            "not drawn from the scored distribution; set bf16 to false."
        )
    return None


def ratio_tail(rows: list[Row], metric: str) -> str | None:
    """More than 5 % of the tokens with a ratio beyond a factor of two means that the updates are too large."""
    recent = series(rows, "val/ratio_tail")[-1:]
    if recent and recent[0] > 0.05:
        return (
            f"{recent[0]:.0%} of the tokens moved by more than a factor of two in one round: halve learning_rate or "
            "set num_ppo_epochs to 1."
        )
    return None


def missing_ends(rows: list[Row], metric: str) -> str | None:
    """The share of samples without an end marker grows by 10 points or stands above 50 %."""
    share = series(rows, "completions/clipped_ratio")
    if len(share) >= RECENT and (_mean(share[-RECENT:]) > share[0] + 0.1 or _mean(share[-RECENT:]) > 0.5):
        knob = "missing_eos_penalty, or " if series(rows, "reward") else ""  # `distill` samples and rewards nothing
        return (
            f"{_mean(share[-RECENT:]):.0%} of the samples do not end (at first {share[0]:.0%}): raise "
            f"{knob}max_completion_length if references are longer."
        )
    return None


def length_drift(rows: list[Row], metric: str) -> str | None:
    """Mean length of samples that are rewarded leaves the interval [0.6, 1.5] times that of the first round."""
    length = series(rows, "completions/mean_length")
    if len(length) < 2 * RECENT or not series(rows, "reward"):
        return None
    share = _mean(length[-RECENT:]) / max(_mean(length[:RECENT]), 1e-9)
    if share > 1.5:
        return f"Samples have grown to {share:.1f} times their first length: raise length_coef, or take form `ratio`."
    if share < 0.6:
        return (
            f"Samples have shrunk to {share:.1f} times their first length: lower length_coef or raise kl_coef (beta in "
            "`grpo`)."
        )
    return None


def entropy_collapse(rows: list[Row], metric: str) -> str | None:
    """Entropy falls under a third of its first value."""
    entropy = series(rows, "objective/entropy")
    if len(entropy) > RECENT and _mean(entropy[-RECENT:]) < entropy[0] / 3:
        return (
            f"The policy's entropy fell from {entropy[0]:.2f} to {_mean(entropy[-RECENT:]):.2f} nats a token: raise "
            "kl_coef (beta in `grpo`) or ent_coef (`ppo`), or stop earlier."
        )
    return None


def useless_value(rows: list[Row], metric: str) -> str | None:
    """After ten rounds the value explains less of the returns than a constant would."""
    explained = series(rows, "val/explained_variance")
    if len(explained) >= 10 and _mean(explained[-RECENT:]) < 0:
        return (
            f"The value head explains nothing of the returns (explained variance {_mean(explained[-RECENT:]):.2f}): "
            "raise value_warmup_steps or head_learning_rate."
        )
    return None


def divergence(rows: list[Row], metric: str) -> str | None:
    """The rollouts' reward has risen since the best validation, and the metric has been worse at two since: by 1 % of
    its best, or by more than chance does to a share of so few outputs. Not asked where nobody knows what chance
    does."""
    key, sign = f"eval/{metric}", direction(metric)
    scores = [(i, sign * float(row[key])) for i, row in enumerate(rows) if row.get(key) is not None]
    if len(scores) < RECENT or not least(metric):
        return None
    best_at, best = max(scores, key=lambda pair: pair[1])
    later = [value for i, value in scores if i > best_at]
    slight = least(metric) if metric in SHARES else 0.01 * abs(best)
    # Offline methods log the reward of their batch, which is not what the policy earns.
    earned = [row if "objective/kl" in row else {} for row in rows]
    before, after = series(earned[:best_at], "reward"), series(earned[best_at:], "reward")
    rewarded = bool(after) and (not before or _mean(after[-RECENT:]) > _mean(before[-RECENT:]))
    if len(later) >= 2 and max(later) < best - slight and rewarded:
        return (
            f"The reward rises ({_mean(after[-RECENT:]):.2f}) while {metric} {'falls' if sign > 0 else 'rises'} "
            f"({sign * best:.3g} to {sign * later[-1]:.3g}): the reward is being exploited; raise kl_coef (beta in "
            "`grpo`), add harder negatives, or keep the best checkpoint."
        )
    return None


def silence(rows: list[Row], metric: str) -> str | None:
    """More than 5 % of the last validation's outputs are empty."""
    empty = series(rows, "eval/empty")[-1:]
    if empty and empty[0] > 0.05:
        return (
            f"{empty[0]:.0%} of the validation outputs are empty: the model may not see where its answer begins; set "
            'dataset.prompt_suffix to a cue such as "\\nAnswer:", or give chat messages.'
        )
    return None


CHECKS: dict[str, Callable[[list[Row], str], str | None]] = {
    "negative_kl": negative_kl,
    "ratio_tail": ratio_tail,
    "missing_ends": missing_ends,
    "length_drift": length_drift,
    "entropy_collapse": entropy_collapse,
    "useless_value": useless_value,
    "divergence": divergence,
    "silence": silence,
}

READS = {
    "negative_kl": KL,
    "ratio_tail": "val/ratio_tail",
    "missing_ends": "completions/clipped_ratio",
    "length_drift": "completions/mean_length",
    "entropy_collapse": "objective/entropy",
    "useless_value": "val/explained_variance",
    "silence": "eval/empty",
}
"""The key without which a row says nothing to a check; what else it reads stands in the same rows."""


def checks(metric: str) -> Iterator[tuple[str, Asked]]:
    """The checks of a stage with this validation metric, by name."""

    def ask(name: str) -> Callable[[list[Row]], dict[str, str]]:
        return lambda rows: {"": sentence} if (sentence := CHECKS[name](rows, metric)) else {}

    for name, key in READS.items():
        yield name, Asked(at_ends(ask(name)), has(key))
    yield "divergence", Asked(ask("divergence"), lambda row: KL in row or has(f"eval/{metric}")(row))
