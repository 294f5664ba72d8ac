"""ROUGE and its length-adjusted forms  (Lin, 2004; la-ROUGE as in section 2.8 of the last-mile sheet)

    P_n = matched n-grams / n-grams of y     R_n = matched n-grams / n-grams of ref     F = 2 P R / (P + R)
    ROUGE-L: the same with |LCS(y, ref)| matches over |y| and |ref| words

    la-ROUGE, lengths in ROUGE words, r = len(ref) / len(y):
        a   F min(1, r)
        b   F min(r, 1/r)
        c   F exp(1 - 1/r) if len(y) > len(ref), else F
        d   F / mean F of random output of the same mean length (a ratio, not a score of 0 to 100)

Words are those of the `rouge-score` package: lower case, runs of a-z and 0-9; an accented Latin letter separates words.
Letters of other scripts, which the package leaves out, are words too: their runs, and each character by itself in
scripts that are written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar).
No stemming unless asked for: the unstemmed form is the stricter one, and its lengths are those of the text.
Several references: the one that gives the best F (for la-ROUGE the best adjusted F) counts.
All four forms of la-ROUGE are readings, `a` is the default: we know the paper by its abstract and by summaries.

Deviation  `rouge-score` fills a table of |y| |ref| cells for the LCS; here its rows are bits of one integer
(Hyyrö, 2004), with the same result.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from homestretch.metrics.scripts import CHARACTER, LATIN, MARKS, UNSPACED

Kind = Literal["rouge1", "rouge2", "rougeL"]
Form = Literal["a", "b", "c", "d"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Words = tuple[str, ...]
_OTHER = rf"[^\W_{LATIN}{UNSPACED}]"
_WORD = re.compile(rf"[a-z0-9]+|{CHARACTER}|(?:{_OTHER}[{MARKS}]*)+")


class Rouge(NamedTuple):
    """Precision, recall and F, each 0 to 100."""

    precision: float
    recall: float
    f: float


@lru_cache(maxsize=32768)
def rouge_words(text: str, *, stem: bool = False) -> Words:
    """Words of `text` as ROUGE counts them. `stem`: English words of more than three letters by their stems."""
    found = _WORD.findall(text.lower())
    if stem:
        found = [_stemmer().stem(word) if len(word) > 3 else word for word in found]
    return tuple(found)


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer  # takes a second to import, and is seldom wanted

    return PorterStemmer()


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    where: dict[str, int] = {}
    for i, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << i
    full = (1 << len(a)) - 1
    row = full  # a 0 bit marks a position at which the table's row grows by one
    for word in b:
        match = row & where.get(word, 0)
        row = (row + match | row - match) & full
    return len(a) - row.bit_count()


@lru_cache(maxsize=65536)
def ngrams(words: Words, n: int) -> Counter[Words]:
    """How often each n-gram occurs. The result is shared: do not change it."""
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def rouge_score(words: Words, reference: Words, kind: Kind) -> Rouge:
    """ROUGE of one output against one reference, both as words. Without a common unit all three are 0."""
    if kind == "rougeL":
        matched, units, wanted = (lcs_length(words, reference), len(words), len(reference))
    else:
        n = int(kind[-1])
        ours, theirs = ngrams(words, n), ngrams(reference, n)
        matched, units, wanted = (ours & theirs).total(), ours.total(), theirs.total()
    if not matched:
        return Rouge(0.0, 0.0, 0.0)
    return Rouge(100 * matched / units, 100 * matched / wanted, 200 * matched / (units + wanted))


def rouge(text: str, references: Sequence[str], kind: Kind = "rougeL", *, stem: bool = False) -> Rouge:
    """ROUGE of one output against its references: the score of the reference with the best F."""
    words = rouge_words(text, stem=stem)
    return max((rouge_score(words, rouge_words(r, stem=stem), kind) for r in references), key=lambda score: score.f)


def length_factor(length: int, reference_length: int, form: Literal["a", "b", "c"]) -> float:
    """What la-ROUGE multiplies F with, in [0, 1]; 0 for an empty output. Lengths in ROUGE words."""
    if length == 0 or reference_length == 0:
        return 0.0
    ratio = reference_length / length
    if form == "a":
        return min(1.0, ratio)
    if form == "b":
        return min(ratio, 1 / ratio)
    return math.exp(1 - 1 / ratio) if ratio < 1 else 1.0


def la_rouge(
    text: str,
    references: Sequence[str],
    kind: Kind = "rougeL",
    *,
    form: Literal["a", "b", "c"] = "a",
    stem: bool = False,
) -> float:
    """la-ROUGE of one output, 0 to 100, forms a to c: the best over the references."""
    words = rouge_words(text, stem=stem)
    return max(
        rouge_score(words, ref, kind).f * length_factor(len(words), len(ref), form)
        for ref in (rouge_words(r, stem=stem) for r in references)
    )


def random_f(
    texts: Sequence[str], references: Sequence[Sequence[str]], kind: Kind = "rougeL", *, seed: int, draws: int = 10
) -> float:
    """The denominator of form d: mean F, 0 to 100, of random output.

    A random output has the mean length of `texts` (rounded, at least one word) and words drawn independently
    from all words of all references; each prompt gets `draws` of them.
    """
    length = max(1, round(sum(len(rouge_words(t)) for t in texts) / max(len(texts), 1)))
    pool = [word for refs in references for r in refs for word in rouge_words(r)]
    if not pool:
        return 0.0
    rng = random.Random(seed)
    total = 0.0
    for refs in references:
        for _ in range(draws):
            words = tuple(rng.choices(pool, k=length))
            total += max(rouge_score(words, rouge_words(r), kind).f for r in refs)
    return total / (draws * len(references))


def la_rouge_scores(
    texts: Sequence[str], references: Sequence[Sequence[str]], kind: Kind = "rougeL", *, form: Form = "a", seed: int = 0
) -> list[float] | None:
    """la-ROUGE of every output. Form d is None where random output has nothing in common with any reference."""
    if form != "d":
        return [la_rouge(t, refs, kind, form=form) for t, refs in zip(texts, references, strict=True)]
    chance = random_f(texts, references, kind, seed=seed)
    if chance == 0:
        return None
    return [rouge(t, refs, kind).f / chance for t, refs in zip(texts, references, strict=True)]
