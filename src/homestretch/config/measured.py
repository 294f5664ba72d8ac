"""The names of what outputs are measured by, and the check of those that a user writes.

`homestretch.metrics` says what each means; it needs more than settings may import.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from homestretch.config.base import nearest

BUILT_IN = (
    "rouge1", "rouge2", "rougeL", "la_rouge1", "la_rouge2", "la_rougeL", "bleu", "chrf", "bleurt", "bertscore",
    "similarity", "distinct2", "copy_rate", "length_ratio", "reward", "kl",
)  # fmt: skip
"""Keys of the table of metrics."""

FAILURE_RULES = (
    "empty", "no_end", "truncated", "repetitive", "copy", "irrelevant", "unsupported", "disfluent", "too_long",
    "too_short", "any",
)  # fmt: skip
"""Failure modes of outputs, and `any` of them."""

REWARDS, FAILURES = "rewards/", "failures/"
"""What keys of single rewards and of failure modes begin with."""

VERDICT = "la_rougeL"
"""The metric that decides unless another is named."""


def check_metrics(
    metrics: Sequence[str] | None, verdict: str, *, rewards: Collection[str], missing: Mapping[str, str]
) -> None:
    """Raise ValueError unless the metrics exist and the one that decides is among what is measured.

    `metrics`: the built-in ones to compute; None is all. Rewards and failure modes are measured in any case. `rewards`:
    names of the single ones; `missing`: what a built-in metric still needs here.
    """
    beside = [*(REWARDS + name for name in rewards), *(FAILURES + name for name in FAILURE_RULES)]
    for key in metrics or ():
        if key in beside:
            raise ValueError(f"`{key}` is measured without being named among the metrics; leave it out there")
        _refuse_unknown(key, BUILT_IN)
        if key == "bleurt" and key in missing:
            raise ValueError(f"`{key}` needs {missing[key]}; give it or leave the metric out")
    if verdict in beside:
        return
    _refuse_unknown(verdict, [*BUILT_IN, *beside])
    if metrics is not None and verdict not in metrics:
        only = "only " + ", ".join(f"`{key}`" for key in metrics) if metrics else "none of the metrics"
        raise ValueError(f"the verdict is by `{verdict}`, but {only} is measured; add it or choose one that is")
    if verdict in missing:
        raise ValueError(f"`{verdict}` needs {missing[verdict]}; give it or choose another metric for the verdict")


def _refuse_unknown(key: str, known: Sequence[str]) -> None:
    if key not in known:
        raise ValueError(f"`{key}` is no metric ({nearest(key, list(known)).rstrip('.?')})")
