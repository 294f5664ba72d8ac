"""Metrics of outputs. `METRICS` is the table of the keys in `results.json`: meaning, direction, needs.

Importing this package loads neither torch nor a metric's own library.
"""

from collections.abc import Collection

from homestretch.config.measured import FAILURES, REWARDS
from homestretch.metrics.base import Metric

_OUTPUT = "y output, ref reference; several references: the best one"

METRICS: dict[str, Metric] = {
    m.key: m
    for m in (
        Metric(key="rouge1", needs=("references",),
               equation=f"100 F_1 of words, F = 2 P R / (P + R); {_OUTPUT}"),
        Metric(key="rouge2", needs=("references",),
               equation=f"100 F_1 of word bigrams; {_OUTPUT}"),
        Metric(key="rougeL", needs=("references",),
               equation=f"100 * 2 |LCS(y, ref)| / (|y| + |ref|) in words; {_OUTPUT}"),
        Metric(key="la_rouge1", needs=("references",),
               equation="rouge1 times the length factor; form a: min(1, |ref| / |y|)"),
        Metric(key="la_rouge2", needs=("references",),
               equation="rouge2 times the length factor; form a: min(1, |ref| / |y|)"),
        Metric(key="la_rougeL", needs=("references",),
               equation="rougeL times the length factor; form a: min(1, |ref| / |y|)"),
        Metric(key="bleu", needs=("references",),
               equation="100 BP exp(mean_{n=1..4} ln p_n) over the whole corpus; intervals resample sentences"),
        Metric(key="chrf", needs=("references",),
               equation="mean over outputs of 100 * 5 P R / (4 P + R), P and R of character 1- to 6-grams"),
        Metric(key="bleurt", needs=("references", "checkpoint"),
               equation="logit of a BLEURT checkpoint for (ref, y); several references: the highest"),
        Metric(key="bertscore", needs=("references", "encoder"),
               equation="F of greedy cosine matches of token states: P mean over y's tokens of the best match in ref, "
                        "R the reverse; not rescaled; several references: the highest"),
        Metric(key="similarity", needs=("references", "encoder"),
               equation="cosine of sentence embeddings of y and ref; several references: the highest"),
        Metric(key="distinct2", equation="distinct word bigrams / word bigrams, of a set with one output a prompt"),
        Metric(key="copy_rate", higher_is_better=False, needs=("source",),
               equation="word 4-grams of y that stand in the source / word 4-grams of y"),
        Metric(key="length_ratio", higher_is_better=None, needs=("references",),
               equation="|y| / mean |ref| in words; best near 1"),
        Metric(key="reward", needs=("reward",),
               equation="mean reward of the outputs, as stored with them"),
        Metric(key="kl", higher_is_better=None, needs=("reward",),
               equation="mean of ln p(y | x) - ln p_ref(y | x) over sampled outputs, nats an output"),
    )
}  # fmt: skip


def better(key: str, lower: Collection[str] = ()) -> bool | None:
    """Whether more of a metric, of a reward or of a failure mode is better; None where neither direction is.

    `lower`: names of the rewards of which less is better, because their weight is negative.
    """
    if key in METRICS:
        return METRICS[key].higher_is_better
    return key.startswith(REWARDS) and key.removeprefix(REWARDS) not in lower


__all__ = ["FAILURES", "METRICS", "REWARDS", "Metric", "better"]
