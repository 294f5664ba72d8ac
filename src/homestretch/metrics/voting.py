"""Majority votes over samples, of all or of those that a filter leaves (Nath et al. 2024, arXiv:2407.13887; sheet
goal-conditioned-reward 2.5).

A sample falls at the first token, counted behind `skip` ones, whose value has been under the threshold for `patience`
tokens in a row. Where all samples of a question fall, all are kept and nothing is saved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Rule = Literal["lenient", "strict"]
SKIP = 5


@dataclass(frozen=True)
class Filter:
    """When a sample is given up: values under `threshold` for `patience` tokens in a row, behind the first `skip`."""

    threshold: float = 0.0
    patience: int = 1
    skip: int = SKIP

    def falls_at(self, values: Sequence[float]) -> int | None:
        """Index, counted behind the skipped tokens, of the token at which the sample is given up; None if it is not."""
        under = 0
        for index, value in enumerate(values[self.skip :]):
            under = under + 1 if value < self.threshold else 0
            if under == self.patience:
                return index
        return None

    def low(self, values: Sequence[float]) -> float:
        """The largest threshold that does not give the sample up; infinite for one that is too short to be judged."""
        judged = values[self.skip :]
        runs = [max(judged[i : i + self.patience]) for i in range(len(judged) - self.patience + 1)]
        return min(runs, default=math.inf)


class Voted(NamedTuple):
    """One question: whether the vote is right, how many of its samples are kept and right, and tokens saved of all.

    Tokens are counted behind the skipped ones, on both sides of the share.
    """

    right: bool
    kept: int
    kept_right: int
    saved: int
    tokens: int


def majority(answers: Sequence[Hashable | None], right: Sequence[bool], *, rule: Rule = "strict") -> bool:
    """Whether the most frequent answer is right.

    Right answers are one answer however they are written. `lenient`: a tie is right, and so is a vote without wrong
    answers. `strict`: the first of tied answers wins, and no answers are wrong. None is no answer: it has no vote
    under `strict` and is an answer like others under `lenient`.
    """
    if rule == "lenient":
        wrong = Counter(answer for answer, ok in zip(answers, right, strict=True) if not ok)
        return sum(right) >= max(wrong.values(), default=0)
    votes = [_RIGHT if ok else answer for answer, ok in zip(answers, right, strict=True) if ok or answer is not None]
    counts = Counter(votes)  # in the order of first answers, which `max` keeps for ties
    return bool(votes) and max(counts, key=lambda answer: counts[answer]) is _RIGHT


_RIGHT = object()


def vote(
    answers: Sequence[Hashable | None],
    right: Sequence[bool],
    values: Sequence[Sequence[float]] | None = None,
    *,
    by: Filter | None = None,
    rule: Rule = "strict",
) -> Voted:
    """The vote of one question's samples, filtered `by` their values (one list a sample) or by nothing."""
    falls = [None] * len(answers) if by is None or values is None else [by.falls_at(row) for row in values]
    skip = 0 if by is None else by.skip
    lengths = [max(len(row) - skip, 0) for row in values] if values is not None else [0] * len(answers)
    keep = [i for i, fall in enumerate(falls) if fall is None] or list(range(len(answers)))
    fallen = set(range(len(answers))) - set(keep)
    saved = sum(lengths[i] - fall for i, fall in enumerate(falls) if fall is not None and i in fallen)
    kept_right = [right[i] for i in keep]
    return Voted(
        right=majority([answers[i] for i in keep], kept_right, rule=rule),
        kept=len(keep),
        kept_right=sum(kept_right),
        saved=saved,
        tokens=sum(lengths),
    )


def threshold_for_recall(
    values: Sequence[Sequence[float]], good: Sequence[bool], *, recall: float, patience: int = 1, skip: int = SKIP
) -> Filter:
    """The filter with the highest threshold that keeps at least this share, in (0, 1], of the good samples.

    Raises ValueError without good samples.
    """
    lows = sorted(
        (Filter(0.0, patience, skip).low(row) for row, ok in zip(values, good, strict=True) if ok), reverse=True
    )
    if not lows:
        raise ValueError("no sample is good, so that none can be kept")
    threshold = lows[math.ceil(recall * len(lows) - 1e-9) - 1]
    # Samples too short to be judged are kept by any threshold; with cosines nothing lies above 1.
    return Filter(min(threshold, 1.0), patience, skip)
