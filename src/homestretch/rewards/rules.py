"""Rewards by rule, for stored references: no model, no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homestretch.metrics.failures import failures
from homestretch.metrics.lexicon import content_words, names_and_numbers, supports
from homestretch.metrics.rouge import la_rouge
from homestretch.metrics.sentences import counted_words
from homestretch.rewards.base import Reward


def reference_overlap(
    prompts: Sequence[Any], completions: Sequence[str], references: Sequence[Sequence[str]], **_: Any
) -> list[float | None]:
    """Length-adjusted ROUGE-L (form a, 0 to 1) of each completion with its training references; None without any.

    It follows the `Reward` protocol. The term goes back to minimum-risk training and self-critical training on ROUGE
    (Paulus et al. 2018, arXiv:1705.04304); as a reward it teaches content that no made failure mode covers.
    """
    return [la_rouge(text, refs) / 100 if refs else None for text, refs in zip(completions, references, strict=True)]


def unbroken_rules(
    prompts: Sequence[Any],
    completions: Sequence[str],
    references: Sequence[Sequence[str]],
    document: Sequence[str],
    **_: Any,
) -> list[float]:
    """-1 for a completion that breaks a rule of `metrics.failures`, 0 for one that breaks none.

    It follows the `Reward` protocol; `document` is what the completions are about. Whether a completion ended is not
    asked: a missing end marker has a cost of its own.
    """
    return [
        -1.0 if failures(text, source=source, references=refs, terminated=None) else 0.0
        for source, text, refs in zip(document, completions, references, strict=True)
    ]


def conciseness(prompts: Sequence[Any], completions: Sequence[str], **_: Any) -> list[float]:
    """Minus the number of words of each completion. It follows the `Reward` protocol."""
    return [-float(len(counted_words(text))) for text in completions]


def faithfulness(
    prompts: Sequence[Any],
    completions: Sequence[str],
    references: Sequence[Sequence[str]],
    document: Sequence[str],
    **_: Any,
) -> list[float]:
    """Share of a completion's names and numbers that document or references contain, 0 to 1; 1 where it has none.

    It follows the `Reward` protocol, and judges as the rule `unsupported` of `metrics.failures` does.
    """

    def share(text: str, evidence: Sequence[str]) -> float:
        said = names_and_numbers(text)
        return sum(supports(evidence, item) for item in said) / len(said) if said else 1.0

    return [share(text, (doc, *refs)) for text, refs, doc in zip(completions, references, document, strict=True)]


def coverage(
    prompts: Sequence[Any], completions: Sequence[str], references: Sequence[Sequence[str]], **_: Any
) -> list[float | None]:
    """Share of the first reference's content words that a completion has, 0 to 1; None where it has no such words, and
    without references.

    It follows the `Reward` protocol. Words are compared as the rule `irrelevant` of `metrics.failures` does.
    """

    def share(text: str, refs: Sequence[str]) -> float | None:
        wanted = content_words(refs[0]) if refs else set()
        return len(wanted & content_words(text)) / len(wanted) if wanted else None

    return [share(text, refs) for text, refs in zip(completions, references, strict=True)]


REWARDS: Mapping[str, Reward] = {
    "overlap": reference_overlap,
    "rules": unbroken_rules,
    "concise": conciseness,
    "faithful": faithfulness,
    "coverage": coverage,
}
"""By the name that a recipe gives it."""
