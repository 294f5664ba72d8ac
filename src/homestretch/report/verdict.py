"""The verdict: is the model of the last stage better than the fine-tuned one, and how sure is that?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from homestretch.report.names import (
    SAMPLED,
    apart_from_zero,
    decimals,
    is_sampled,
    metric_label,
    number,
    p_value,
    percent,
    signed,
)
from homestretch.results import Comparison, Results

Outcome = Literal["better", "unclear", "worse", "none"]
CHANCE = 0.05
"""Largest p-value that is not called chance: that of the 95 % intervals."""
TITLES: dict[Outcome, str] = {
    "better": "Better",
    "unclear": "No clear difference",
    "worse": "Worse",
    "none": "No verdict yet",
}


@dataclass(frozen=True)
class Verdict:
    """`sentence` is complete by itself; `details` holds further sentences, e.g. about sampled decoding."""

    outcome: Outcome
    sentence: str
    details: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The outcome as the page's headline."""
        return TITLES[self.outcome]


def find(results: Results, a: str, b: str, metric: str) -> Comparison | None:
    """The comparison of `a` against `b`, turned round where it was recorded as `b` against `a`."""
    for c in results.comparisons:
        if c.metric == metric and (c.a, c.b) == (a, b):
            return c
        if c.metric == metric and (c.a, c.b) == (b, a):
            turned = {"a": a, "b": b, "difference": -c.difference, "low": -c.high, "high": -c.low}
            return c.model_copy(update=turned)
    return None


def outcome(comparison: Comparison) -> Outcome:
    """Better or worse only where the whole interval lies on one side of zero, the sign-flip test agrees, and one side
    is the better one. With few prompts the interval alone, which resamples them, is too narrow."""
    if comparison.higher_is_better is None or comparison.p_value > CHANCE:
        return "unclear"
    sign = 1 if comparison.higher_is_better else -1
    low, high = sorted((sign * comparison.low, sign * comparison.high))
    return "better" if low > 0 else "worse" if high < 0 else "unclear"


def verdict(results: Results | None) -> Verdict:
    """`rl_raw` against `ml_raw` on the headline metric; sampled arms where there are no greedy ones."""
    if results is None or not results.arms:
        return Verdict("none", "The models have not been evaluated, so there is nothing to compare yet.")
    metric = results.headline_metric
    for suffix in ("", SAMPLED):
        found = find(results, f"rl_raw{suffix}", f"ml_raw{suffix}", metric)
        if found:
            other = find(results, f"rl_raw{SAMPLED}", f"ml_raw{SAMPLED}", metric) if not suffix else None
            return Verdict(outcome(found), _sentence(results, found), _details(results, found, other))
    return Verdict("none", _why_none(results, metric))


def _methods(results: Results) -> tuple[str, str]:
    """What the models of `ml` and `rl` are called: the stages that made them, where the record has them."""
    ml, rl = (f"`{results.stages.get(short, short)}`" for short in ("ml", "rl"))
    return ml, rl


def _sentence(results: Results, c: Comparison) -> str:
    ml, rl = _methods(results)
    claim = {
        "better": f"{rl} is better than {ml} here",
        "worse": f"{rl} is worse than {ml} here",
        "unclear": f"This run does not show a difference between {rl} and {ml}",
        "none": "",
    }[outcome(c)]
    how = " (sampled at temperature 1)" if is_sampled(c.a) else ""
    zero = ", which includes zero" if c.low <= 0 <= c.high else ""
    change, digits = _change(results, c)
    interval = f"95 % interval {signed(c.low, digits)} to {signed(c.high, digits)}{zero}"
    failures, agrees = _failures(results, c)
    joint = f"{', and ' if agrees else ', but '}{failures}" if failures else ""
    return f"{claim}: {metric_label(c.metric)}{how} {change} ({interval}; {p_value(c.p_value)}; {c.n} prompts){joint}."


def _change(results: Results, c: Comparison) -> tuple[str, int]:
    """`rises from 24.4 to 26.1, a difference of +1.7`, and the digits that go with the difference."""
    arms = [results.arms.get(name) for name in (c.b, c.a)]
    values = [arm.metrics[c.metric].value for arm in arms if arm and c.metric in arm.metrics]
    digits = decimals([*values, c.low, c.high])
    fine = apart_from_zero(digits, c.low, c.high)
    if len(values) < 2:
        return f"differs by {signed(c.difference, fine)}", fine
    before, after = (number(value, fine) for value in values)
    verb = "stays at" if before == after else "rises from" if values[1] > values[0] else "falls from"
    way = before if before == after else f"{before} to {after}"
    return f"{verb} {way}, a difference of {signed(c.difference, fine)}", fine


def _failures(results: Results, c: Comparison) -> tuple[str, bool]:
    """What became of the outputs with a failure, and whether that points the way the metric does."""
    arms = [results.arms.get(name) for name in (c.b, c.a)]
    rates = [arm.failure_modes["any"].value for arm in arms if arm and "any" in arm.failure_modes]
    if len(rates) < 2:
        return "", True
    before, after = rates
    if percent(before) == percent(after):
        return f"as many outputs fail a rule as before ({percent(after)})", True
    tested = find(results, c.a, c.b, "failures/any")
    noise = ", a change within noise" if tested and outcome(tested) == "unclear" else ""
    verb = "fall" if after < before else "rise"
    text = f"outputs that fail a rule {verb} from {percent(before)} to {percent(after)}{noise}"
    return text, not (outcome(c) == "better" and after > before) and not (outcome(c) == "worse" and after < before)


def _details(results: Results, main: Comparison, sampled: Comparison | None) -> tuple[str, ...]:
    details = []
    if sampled:
        change, digits = _change(results, sampled)
        interval = f"95 % interval {signed(sampled.low, digits)} to {signed(sampled.high, digits)}"
        failures, _ = _failures(results, sampled)
        tail = f"; {failures}" if failures else ""
        details.append(
            f"Sampled at temperature 1, {metric_label(sampled.metric)} {change} ({interval}; "
            f"{p_value(sampled.p_value)}){tail}."
        )
    post = find(results, main.a, main.b.replace("_raw", "_post"), main.metric)
    if post and post.b != main.b:
        ml, rl = _methods(results)
        claim = {
            "better": f"{rl} beats {ml} with post-processing",
            "worse": f"{ml} with post-processing beats {rl}",
        }.get(outcome(post), f"Against {ml} with post-processing there is no clear difference")
        _, digits = _change(results, post)
        details.append(
            f"{claim}: {signed(post.difference, digits)} ({signed(post.low, digits)} to {signed(post.high, digits)}; "
            f"{p_value(post.p_value)})."
        )
    return tuple(details)


def _why_none(results: Results, metric: str) -> str:
    bases = {name.split("@")[0] for name in results.arms}
    lacking = [name for name in ("ml_raw", "rl_raw") if name not in bases]
    if len(lacking) == 1:
        what = {"ml_raw": "the model of `sft` or `ift`", "rl_raw": "the model of another stage"}[lacking[0]]
        return f"There is no arm `{lacking[0]}` ({what}) in this run, so there is nothing to compare."
    if lacking:
        return "This run has neither `ml_raw` nor `rl_raw`; its arms are in the table below."
    if not any(metric in arm.measured for arm in results.arms.values()):
        return (
            f"{metric_label(metric)} was not measured here; choose another metric with "
            "`homestretch evaluate RUN --headline METRIC`."
        )
    if not any({c.a.split("@")[0], c.b.split("@")[0]} == {"ml_raw", "rl_raw"} for c in results.comparisons):
        return "`rl_raw` and `ml_raw` were not compared, as they have no answers to the same prompts."
    return f"The arms were measured but not compared on {metric_label(metric)}, which no row of both has."
