"""Majority votes over samples, of all or of those that a filter leaves (Nath et al. 2024, arXiv:2407.13887; sheet
goal-conditioned-reward 2.5).

A sample falls at the first token, counted behind `skip` ones, whose value has been under the threshold for `patience`
tokens in a row. Where all samples of a question fall, all are kept and nothing is saved.

Two counts of what that saves: afterwards, as the sheet has it, and as a reader that looks at samples while they are
written (`every`), which is less.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Rule = Literal["lenient", "strict"]
SKIP = 5
PATIENCES = (1, 2, 4, 8, 16)
"""Tokens in a row among which `filter_for_recall` chooses."""


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

    def stops_at(self, values: Sequence[float], *, every: int | None = None) -> int | None:
        """Tokens that are left of a sample that is given up; None if it is not.

        Afterwards it ends before the token at which it falls. A reader looks whenever there are `every` more tokens: it
        ends where the reader looks next, and what was written since the last look is not judged.
        """
        fall = self.falls_at(values if every is None else values[: len(values) // every * every])
        if fall is None:
            return None
        place = self.skip + fall
        return place if every is None else (place // every + 1) * every

    def low(self, values: Sequence[float]) -> float:
        """The largest threshold that does not give the sample up; infinite for one that is too short to be judged."""
        judged = values[self.skip :]
        runs = [max(judged[i : i + self.patience]) for i in range(len(judged) - self.patience + 1)]
        return min(runs, default=math.inf)


class Question(NamedTuple):
    """Samples of one question: what each answers, whether that is right, and its values behind every token."""

    answers: list[Hashable | None]
    right: list[bool]
    values: list[list[float]]


class Voted(NamedTuple):
    """One question: whether the vote is right, how many of its samples are kept and right, and tokens saved of all.

    Tokens are counted behind the skipped ones, on both sides of the share, unless a reader looks at them (`every`).
    `lost_all`: all samples fell, so that all were kept.
    """

    right: bool
    kept: int
    kept_right: int
    saved: int
    tokens: int
    lost_all: bool


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
    every: int | None = None,
) -> Voted:
    """The vote of one question's samples, filtered `by` their values (one list a sample) or by nothing; with `every`
    as a reader does that looks at them whenever they have so many more tokens."""
    stops = [None] * len(answers) if by is None or values is None else [by.stops_at(row, every=every) for row in values]
    lengths = [len(row) for row in values] if values is not None else [0] * len(answers)
    skip = 0 if by is None or every is not None else by.skip
    standing = [i for i, stop in enumerate(stops) if stop is None]
    keep = standing or list(range(len(answers)))
    kept_right = [right[i] for i in keep]
    return Voted(
        right=majority([answers[i] for i in keep], kept_right, rule=rule),
        kept=len(keep),
        kept_right=sum(kept_right),
        saved=sum(n - stop for n, stop in zip(lengths, stops, strict=True) if stop is not None) if standing else 0,
        tokens=sum(max(n - skip, 0) for n in lengths),
        lost_all=bool(answers) and not standing,
    )


def threshold_for_recall(
    values: Sequence[Sequence[float]], good: Sequence[bool], *, recall: float, patience: int = 1, skip: int = SKIP
) -> Filter:
    """The filter with the highest threshold that keeps at least this share, in (0, 1], of the good samples.

    Raises ValueError without good samples, or for another share.
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall {recall:g} is no share of good samples; give one above 0, and 1 at most")
    lows = sorted(
        (Filter(0.0, patience, skip).low(row) for row, ok in zip(values, good, strict=True) if ok), reverse=True
    )
    if not lows:
        raise ValueError("no sample is good, so that none can be kept")
    threshold = lows[math.ceil(recall * len(lows) - 1e-9) - 1]
    # Samples too short to be judged are kept by any threshold; with cosines nothing lies above 1.
    return Filter(min(threshold, 1.0), patience, skip)


def filter_for_recall(
    questions: Sequence[Question], *, recall: float, every: int, patiences: Sequence[int] = PATIENCES
) -> Filter:
    """Of the filters with the highest threshold that keeps at least this share of the good samples, one for each of
    the `patiences`, the one that saves a reader most tokens; of equal ones the first.

    Raises ValueError as `threshold_for_recall` does.
    """
    values, good = [row for q in questions for row in q.values], [ok for q in questions for ok in q.right]
    filters = [threshold_for_recall(values, good, recall=recall, patience=patience) for patience in patiences]
    return max(filters, key=lambda by: sum(vote(*q, by=by, every=every).saved for q in questions))
