"""What corruptions know of the other examples: built once, the same for every class, setting and order of examples."""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

from homestretch.data.records import Example
from homestretch.errors import InputError
from homestretch.metrics.sentences import words
from homestretch.negatives.base import reference_of
from homestretch.negatives.entities import starts_sentence
from homestretch.negatives.phrases import join, units, word_count
from homestretch.seeds import fold

RandomText = Callable[[random.Random, int], str]
"""`random_text(rng, n_tokens)`: n tokens, independent and uniform over a vocabulary without specials, as text."""

_CAPITALISED = re.compile(r"(?<!\w)[^\W\d_a-z]\w+")
BLOCK = 16  # references of like length that a derangement permutes among themselves
JITTER = 0.1  # standard deviation of the log length, so that blocks differ from one derangement to the next
NEVER_LONGER = 2.0  # times the longest reference: `max_words` where the caller gives none


@dataclass(frozen=True)
class Donor:
    """A reference of a training example that others may borrow. `sources` are of all examples that have it, `source` is
    of the first."""

    text: str
    source: str
    id: str
    length: int
    sources: frozenset[str]


class Corpus:
    """The references of the training examples, each text once, and indices over them.

    `vocabulary`: what random text is made of, tokens or a function that knows a tokenizer; by default the words of the
    corpus. `tokens_per_word`: how many of its tokens a word of a reference has. `max_words`: no loop, copy or run-on
    is longer. Negatives of validation examples want a corpus of validation examples: else their text was seen as good
    before.

    Raises InputError without examples.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        *,
        vocabulary: Sequence[str] | RandomText | None = None,
        tokens_per_word: float = 1.0,
        max_words: int | None = None,
    ) -> None:
        by_text: dict[str, list[Example]] = {}
        for e in sorted(examples, key=lambda e: (e.id, e.references)):
            by_text.setdefault(reference_of(e), []).append(e)
        if not by_text:
            raise InputError("negatives are made from the training examples, and there are none; check the data.")
        self.donors = tuple(
            Donor(text, e[0].source, e[0].id, word_count(text), frozenset(one.source for one in e))
            for text, e in by_text.items()
        )
        self.lengths = tuple(sorted(d.length for d in self.donors))
        self.max_words = max_words or max(8, round(NEVER_LONGER * self.lengths[-1]))
        self.tokens_per_word = tokens_per_word
        self._index = {d.text: i for i, d in enumerate(self.donors)}
        self._vocabulary = vocabulary

    def random_text(self, rng: random.Random, n_words: int) -> str:
        """Meaningless text as long as n words of a reference."""
        n = max(1, round(n_words * self.tokens_per_word))
        if callable(self._vocabulary):
            return self._vocabulary(rng, n)
        return join(rng.choices(self._vocabulary or self.words, k=n))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every different unit of references and sources."""
        return tuple(sorted({u for d in self.donors for t in (d.text, d.source) for u in units(t)}))

    @cached_property
    def lower(self) -> frozenset[str]:
        """Units that occur in lower case: a capital makes no name of them."""
        return frozenset(w for w in self.words if w.islower())

    @cached_property
    def names(self) -> frozenset[str]:
        """Words that have a capital inside sentences and are never seen without it."""
        found = {
            m.group() for d in self.donors for t in (d.text, d.source) for m in _CAPITALISED.finditer(t)
            if not starts_sentence(t, m.start())
        }  # fmt: skip
        return frozenset(w for w in found if w.lower() not in self.lower)

    @cached_property
    def frequency(self) -> Counter[str]:
        """How many references contain each word, lower case."""
        return Counter(w for d in self.donors for w in set(words(d.text)))

    def partner(self, example: Example, k: int) -> Donor | None:
        """The donor that derangement k gives the example: somebody else's reference, of like length.

        In one derangement every reference is borrowed once, so none is better known as bad than as good.
        """
        here = self._index.get(reference_of(example))
        if here is not None:
            there = self._derangement(k)[here]
            return None if there == here else self.donors[there]
        order = self._by_length
        middle = bisect_left(self.lengths, word_count(reference_of(example)))
        low = min(max(0, middle - BLOCK // 2), max(0, len(order) - BLOCK))
        near = order[low : low + BLOCK]
        return self.donors[near[fold(k, example.id) % len(near)]]

    def similar(self, example: Example, n: int) -> list[tuple[Donor, float]]:
        """The n donors with the most similar other sources, and the cosine of tf-idf vectors, most similar first."""
        return [(self.donors[i], score) for i, score in self._neighbours(example.source, n)]

    @cached_property
    def _by_length(self) -> tuple[int, ...]:
        return tuple(sorted(range(len(self.donors)), key=lambda i: (self.donors[i].length, i)))

    @lru_cache(maxsize=64)  # noqa: B019 - a corpus lives as long as its stage
    def _derangement(self, k: int) -> tuple[int, ...]:
        rng = random.Random(fold("derangement", k))
        near = {i: d.length * rng.lognormvariate(0.0, JITTER) for i, d in enumerate(self.donors)}
        order = sorted(near, key=lambda i: (near[i], i))
        result = list(range(len(order)))
        starts = list(range(0, max(1, len(order) - 1), BLOCK))  # a last block of one would map to itself
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            cycle = order[start:stop]
            rng.shuffle(cycle)
            for a, b in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
                result[a] = b
        return tuple(result)

    @lru_cache(maxsize=16384)  # noqa: B019 - a corpus lives as long as its stage
    def _neighbours(self, source: str, n: int) -> list[tuple[int, float]]:
        vectorizer, matrix = self._tfidf
        if vectorizer is None:
            return []
        row = (matrix @ vectorizer.transform([source]).T).toarray().ravel()
        best = row.argsort(kind="stable")[::-1]
        others = ((int(i), float(row[i])) for i in best if row[i] > 0 and self.donors[i].source != source)
        return list(islice(others, n))

    @cached_property
    def _tfidf(self) -> tuple[Any, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer  # two seconds to import

        common = 0.3 if len(self.donors) >= 20 else 1.0
        vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True, max_df=common)
        try:
            return vectorizer, vectorizer.fit_transform([d.source for d in self.donors])
        except ValueError:  # no source has a word
            return None, None
