"""Failure modes of existing outputs, by rule: no model, no training, each rule a sentence one can argue with.

A rule answers True (fails), False, or None where it does not apply: rules about references need references, `no_end`
needs to know whether generation stopped by itself. Words are runs of letters and digits of any script, lower case; for
`copy` and the rules of length each character is one in scripts that are written without spaces. `disfluent` and the
stop words know English only and stay silent elsewhere. Thresholds were chosen on abstracts, triples and docstrings so
that few human references fail; a rule is a tripwire, not a judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homestretch.metrics.diversity import repeated_share
from homestretch.metrics.lexicon import content_words, misplaced_words, names_and_numbers, supports
from homestretch.metrics.rouge import lcs_length
from homestretch.metrics.sentences import counted_words, is_finished, words
from homestretch.metrics.stats import cluster_means, wilson
from homestretch.pairing import prompt_of
from homestretch.results import Measured

REPEATED_SHARE = 0.3
WORD_RUN = 4
COPIED_WORDS, COPIED_SHARE, SAVED_BY_ROUGE = 6, 0.7, 0.7
RELATED_SHARE, MIN_CONTENT = 0.2, 3
MISPLACED_SHARE = 0.06
SHORTEST, LONGEST = 0.5, 2.0


@dataclass(frozen=True)
class Judged:
    """One output and what it is judged by. `terminated`: it ended in an end marker; None if nobody knows."""

    text: str
    source: str
    references: tuple[str, ...]
    terminated: bool | None


def empty(o: Judged) -> bool | None:
    """There is no word in the output."""
    return not words(o.text)


def no_end(o: Judged) -> bool | None:
    """Generation was cut off: no end marker before the limit. Not asked where that is unknown."""
    return None if o.terminated is None else not o.terminated


def truncated(o: Judged) -> bool | None:
    """The output does not end as a sentence does, and every reference does. Needs references."""
    if not o.references:
        return None
    return bool(words(o.text)) and not is_finished(o.text) and all(is_finished(r) for r in o.references)


def repetitive(o: Judged) -> bool | None:
    """More than 30 % of the word 4-grams repeat an earlier one, or one word stands four times in a row."""
    units = words(o.text)
    runs = any(len(set(units[i : i + WORD_RUN])) == 1 for i in range(len(units) - WORD_RUN + 1))
    return runs or repeated_share(units) > REPEATED_SHARE


def copy(o: Judged) -> bool | None:
    """One verbatim span of at least 6 words of the source makes up at least 70 % of the output's words.

    Not so where the output is right all the same: ROUGE-L F above 70 to a reference.
    """
    units = counted_words(o.text)
    if len(units) < COPIED_WORDS or longest_shared_run(units, counted_words(o.source)) < max(
        COPIED_WORDS, COPIED_SHARE * len(units)
    ):
        return False
    return not any(_lcs_f(units, counted_words(r)) > SAVED_BY_ROUGE for r in o.references)


def irrelevant(o: Judged) -> bool | None:
    """Fewer than 20 % of the content words occur in source or references; asked of 3 content words or more.

    Content words are neither stop words nor shorter than 3 letters, and are compared by their first 5 letters.
    """
    ours = content_words(o.text)
    if len(ours) < MIN_CONTENT:
        return False
    known = content_words(o.source).union(*(content_words(r) for r in o.references))
    return len(ours & known) < RELATED_SHARE * len(ours)


def unsupported(o: Judged) -> bool | None:
    """A number, or a capitalised name inside a sentence, that neither source nor references contain.

    Case and thousands separators do not matter; number words up to twelve count as numbers, and initials of
    consecutive words of the source support an abbreviation.
    """
    evidence = (o.source, *o.references)
    return any(not supports(evidence, item) for item in names_and_numbers(o.text))


def disfluent(o: Judged) -> bool | None:
    """At least 6 in 100 words stand where English has none of their kind (`the of`, a sentence that ends in `the`, a
    capitalised `The` inside a sentence): words in disorder."""
    count = misplaced_words(o.text)
    return count > 0 and count >= MISPLACED_SHARE * len(words(o.text))


def too_long(o: Judged) -> bool | None:
    """More than twice as many words as the longest reference. Needs references with words."""
    wanted = [len(counted_words(r)) for r in o.references if words(r)]
    return len(counted_words(o.text)) > LONGEST * max(wanted) if wanted else None


def too_short(o: Judged) -> bool | None:
    """Fewer than half as many words as the shortest reference. Needs references with words."""
    wanted = [len(counted_words(r)) for r in o.references if words(r)]
    return len(counted_words(o.text)) < SHORTEST * min(wanted) if wanted else None


RULES: Mapping[str, Callable[[Judged], bool | None]] = {
    rule.__name__: rule
    for rule in (empty, no_end, truncated, repetitive, copy, irrelevant, unsupported, disfluent, too_long, too_short)
}


def judge(text: str, *, source: str, references: Sequence[str], terminated: bool | None) -> dict[str, bool]:
    """The answer of every rule that applies, by name."""
    judged = Judged(text, source, tuple(references), terminated)
    answers = {name: rule(judged) for name, rule in RULES.items()}
    return {name: bool(answer) for name, answer in answers.items() if answer is not None}


def failures(text: str, *, source: str, references: Sequence[str], terminated: bool | None) -> set[str]:
    """Names of the rules that the output breaks."""
    answers = judge(text, source=source, references=references, terminated=terminated)
    return {name for name, fails in answers.items() if fails}


def failure_rates(rows: Iterable[Mapping[str, Any]], *, level: float = 0.95) -> dict[str, Measured]:
    """Rate of each failure with Wilson's interval, over the rows to which the rule applies; `any`: at least one.

    A row has `text` and may have `source`, `references` and `terminated`, as in `generations.jsonl`. Rows of the same
    prompt (`pairing`), where they have one, are one output that fails in part: they are not independent. `n` counts
    them once.
    """
    answers = [(prompt_of(row, number), judge_row(row)) for number, row in enumerate(rows)]
    rates: dict[str, Measured] = {}
    for name in (*RULES, "any"):
        asked = [(prompt, a[name]) for prompt, a in answers if name in a]
        if asked:
            prompts, fails = zip(*asked, strict=True)
            parts = cluster_means(fails, prompts)
            value, low, high = wilson(float(parts.sum()), len(parts), level=level)
            rates[name] = Measured(value=value, low=low, high=high, n=len(parts), higher_is_better=False)
    return rates


def judge_row(row: Mapping[str, Any]) -> dict[str, bool]:
    """`judge` of a generation row, with `any` on top."""
    answers = judge(
        row["text"],
        source=row.get("source") or "",
        references=row.get("references") or (),
        terminated=row.get("terminated"),
    )
    return {**answers, "any": any(answers.values())}


def longest_shared_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Words of the longest contiguous run that both have."""
    places: dict[str, list[int]] = {}
    for j, word in enumerate(b):
        places.setdefault(word, []).append(j)
    best, ending = (0, dict[int, int]())  # ending[j]: length of the run that ends at b[j] and at the current word of a
    for word in a:
        ending = {j: ending.get(j - 1, 0) + 1 for j in places.get(word, ())}
        best = max(best, *ending.values()) if ending else best
    return best


def _lcs_f(a: Sequence[str], b: Sequence[str]) -> float:
    return 2 * lcs_length(a, b) / max(len(a) + len(b), 1)
