"""Negatives to preference rows, so mixed that length tells nothing  (sheet 2.2)

One class per example by default, uniform over the classes that apply to it. The sheet draws one in each epoch: here
the draws of several epochs are several classes of an example, in one pass of the reward model, where they share the
reading of their prompt. Balance of length:

    1. a class that can keep the reference's length keeps it: `irrelevant` borrows among references of like length,
       `copy` cuts spans of the reference's length, one word replaces one;
    2. a class that is long by nature has a short version: loops that stop early, answers broken off beside answers
       that go on;
    3. every (example, class) tosses a coin for a side, longer or shorter than the chosen answer, and takes the first
       of up to `draws` draws that lies there or is of equal length; the first of all where none does.

Negatives keep the line breaks of what they are made of, and stand between the same white space as the chosen answer.

The toss is weighted by where the chosen length lies among all: long answers get shorter negatives a little more
often, so that rejected lengths keep to the range of the chosen ones and their extremes are not given away either.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from homestretch.data.records import Example, Text
from homestretch.negatives.base import Corruption, Negative
from homestretch.negatives.phrases import word_count
from homestretch.seeds import fold

DRAWS = 8
LEAN = 0.6
"""How much the toss leans to the middle: P(longer) = 1/2 + LEAN (1/2 - quantile of the chosen length).

On docstrings and abstracts, 3 seeds, the audit's length reader: 0.59 at 0, 0.56 at 0.6, 0.55 at 1. At 1 the shortest
references would never be broken off, and the longest never go on."""


def make_negatives(
    examples: Sequence[Example],
    corruptions: Mapping[str, Corruption],
    *,
    classes_per_example: int | Literal["all"] = 1,
    weights: Mapping[str, float] | None = None,
    seed: int = 0,
    epoch: int = 0,
    length: Callable[[str], int] = word_count,
    longest: int | None = None,
) -> list[dict[str, Any]]:
    """Preference rows: prompt, chosen, rejected, failure_mode, variant, rejected_terminated, id.

    `classes_per_example`: how many classes of those that apply each example gets. `weights`: of classes, 1 where
    absent, 0 to leave one out. `length`: what is balanced; give a tokenizer's count to balance tokens. `longest`: a
    negative that is longer will be cut, and so is not terminated. A row of an example and class depends on (seed,
    epoch, id, class) and on the lengths of the chosen answers, on nothing else.
    """
    lengths = [length(e.references[0].rstrip()) for e in examples]
    ordered = sorted(lengths)
    wanted = len(corruptions) if classes_per_example == "all" else classes_per_example
    rows: list[dict[str, Any]] = []
    for example, chosen in zip(examples, lengths, strict=True):
        made: set[str] = set()
        longer = 0.5 + LEAN * (0.5 - _quantile(ordered, chosen))
        for name in _order(corruptions, weights or {}, (seed, epoch, example.id)):
            if len(made) == wanted:
                break
            tries = _tries(example, corruptions[name], (seed, epoch, example.id, name))
            side = 1 if random.Random(fold(seed, epoch, example.id, name, "side")).random() < longer else -1
            negative = _first_on_side(tries, side, chosen, length)
            if negative is not None and negative.text not in made:
                row = _row(example, negative)
                cut = longest is not None and length(_text(row["rejected"])) > longest
                rows.append(row if not cut else {**row, "rejected_terminated": False})
                made.add(negative.text)
    return rows


def _order(names: Mapping[str, Any], weights: Mapping[str, float], key: tuple[int | str, ...]) -> Iterator[str]:
    """Names in weighted random order; the place of one does not depend on which others there are.

    Exponential clocks: the smallest of E_i / w_i is i with probability w_i / sum w (Efraimidis and Spirakis, 2006).
    """
    clocks = {
        name: -math.log(1.0 - random.Random(fold(*key, name, "order")).random()) / weights.get(name, 1.0)
        for name in names
        if weights.get(name, 1.0) > 0
    }
    return iter(sorted(clocks, key=lambda name: (clocks[name], name)))


def _tries(example: Example, corruption: Corruption, key: tuple[int | str, ...]) -> Iterator[Negative]:
    for i in range(DRAWS):
        negative = corruption(example, random.Random(fold(*key, i)))
        if negative is not None:
            yield negative
        elif i == 0:
            return


def _first_on_side(tries: Iterator[Negative], side: int, chosen: int, length: Callable[[str], int]) -> Negative | None:
    first: Negative | None = None
    for negative in tries:
        if side * (length(negative.text) - chosen) >= 0:
            return negative
        first = first or negative
    return first


def _quantile(ordered: Sequence[int], value: int) -> float:
    return (bisect_left(ordered, value) + bisect_right(ordered, value)) / (2 * len(ordered))


def _row(example: Example, negative: Negative) -> dict[str, Any]:
    return {
        "prompt": example.prompt,
        "chosen": example.completion,
        "rejected": _in_place_of(example.completion, negative.text),
        "failure_mode": negative.failure_mode,
        "variant": negative.variant,
        "rejected_terminated": negative.terminated,
        "id": example.id,
    }


def _text(answer: Text) -> str:
    return answer if isinstance(answer, str) else answer[0]["content"]


def _in_place_of(completion: Text, text: str) -> Text:
    """The text in the shape of the completion: a message or a text, with the same white space around it.

    White space that only chosen answers have at an edge would give every other one away.
    """
    if not isinstance(completion, str):
        return [{**completion[0], "content": _in_place_of(completion[0]["content"], text)}]
    return completion.replace(completion.strip(), text, 1)
