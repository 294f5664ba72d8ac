"""Rewards by rule, for stored references: no model, no labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homestretch.metrics.rouge import la_rouge


def reference_overlap(
    prompts: Sequence[Any], completions: Sequence[str], references: Sequence[Sequence[str]], **_: Any
) -> list[float]:
    """Length-adjusted ROUGE-L (form a, 0 to 1) of each completion with its training references.

    It follows the `Reward` protocol. The term goes back to minimum-risk training and self-critical training on ROUGE
    (Paulus et al. 2018, arXiv:1705.04304); as a reward it teaches content that no made failure mode covers.
    """
    return [la_rouge(text, refs) / 100 for text, refs in zip(completions, references, strict=True)]
