"""Features of a text beside its document that sentence embeddings tell: relevance, and what becomes of opinions.

    e(u)      embedding of a unit (`word_features`), of length 1;   c(u, v) = max(0, e(u) . e(v))
    o(u, v)   0 where one unit praises and the other complains (`opinions`), else 1
    D, T      units of document and text;   O: those of the document that praise or complain, all where none does

    relevance            = max(0, m(T) . m(D)),   m: mean of the embeddings, of length 1
    opinion_faithfulness = mean_{t in T} max_{d in D} c(t, d) o(t, d)
    opinion_coverage     = mean_{d in O} max_{t in T} c(d, t) o(d, t)

With a classifier of entailment (NLI), p(d, t) being the probability that unit d entails unit t, and N(t) the 5 units of
the document that are most similar to t,

    opinion_faithfulness = mean_{t in T} max_{d in N(t)} p(d, t)
    least_entailed       = min_{t in T}  max_{d in N(t)} p(d, t)

Sentence against sentence is how NLI models were found to work on summaries (Laban et al. 2022, arXiv:2111.09525); the
stand-in without one is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from homestretch.metrics.learned import Encoder
from homestretch.rewards.opinions import polarity
from homestretch.rewards.word_features import units_of

AT_ONCE = 512
KEPT = 100_000
"""Embeddings that are kept: 150 MB of 384 numbers each."""
PREMISES = 5

Entailment = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Probability, 0 to 1, that the first of two texts entails the second."""


@dataclass
class Vectors:
    """Embeddings of units, each computed once and kept while there is room."""

    encoder: Encoder
    _kept: dict[str, Tensor] = field(default_factory=dict)

    def of(self, units: Sequence[str]) -> Tensor:
        """Embeddings (N, D) of length 1."""
        missing = [unit for unit in dict.fromkeys(units) if unit not in self._kept]
        if missing and len(self._kept) + len(missing) > KEPT:
            self._kept.clear()
            missing = list(dict.fromkeys(units))
        for at in range(0, len(missing), AT_ONCE):
            part = missing[at : at + AT_ONCE]
            encoded = self.encoder.encode(part)
            self._kept |= {unit: e.mean_D for unit, e in zip(part, encoded, strict=True)}
        return torch.stack([self._kept[unit] for unit in units])


def relevance(documents: Sequence[str], texts: Sequence[str], vectors: Vectors) -> list[float]:
    """How near text and document are in subject, 0 to 1; 1 is the same."""
    return [
        float((_centre(vectors.of(t)) @ _centre(vectors.of(d))).clamp(0, 1))
        for d, t in _units(documents, texts, vectors)
    ]


def opinion_faithfulness(documents: Sequence[str], texts: Sequence[str], vectors: Vectors) -> list[float]:
    """How well something in the document bears out each sentence of the text, 0 to 1; 1 is best."""
    return [float(_agreement(t, d, vectors).amax(1).mean()) for d, t in _units(documents, texts, vectors)]


def opinion_coverage(documents: Sequence[str], texts: Sequence[str], vectors: Vectors) -> list[float]:
    """How well the text bears out each opinion of the document, 0 to 1; 1 is best."""
    return [
        float(_agreement([u for u in d if polarity(u)] or d, t, vectors).amax(1).mean())
        for d, t in _units(documents, texts, vectors)
    ]


def entailed(
    documents: Sequence[str], texts: Sequence[str], vectors: Vectors, entailment: Entailment
) -> list[list[float]]:
    """For each text the probability, 0 to 1, that the document entails each of its sentences."""
    units = _units(documents, texts, vectors)
    pairs, counts = [], []
    for d, t in units:
        near = (vectors.of(t) @ vectors.of(d).T).topk(min(PREMISES, len(d)), dim=1).indices.tolist()
        pairs += [(d[j], unit) for unit, row in zip(t, near, strict=True) for j in row]
        counts.append((len(t), min(PREMISES, len(d))))
    found = iter(entailment(pairs))
    return [[max(next(found) for _ in range(premises)) for _ in range(hypotheses)] for hypotheses, premises in counts]


def _units(documents: Sequence[str], texts: Sequence[str], vectors: Vectors) -> list[tuple[list[str], list[str]]]:
    """Units of document and text, all of them encoded in one go."""
    units = [(units_of(d), units_of(t)) for d, t in zip(documents, texts, strict=True)]
    vectors.of([unit for both in units for part in both for unit in part])
    return units


def _centre(vectors_ND: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors_ND.mean(0), dim=0)


def _agreement(ours: Sequence[str], theirs: Sequence[str], vectors: Vectors) -> Tensor:
    """c o (N, M) of N units with M others."""
    cosine_NM = (vectors.of(ours) @ vectors.of(theirs).T).clamp(0, 1)
    opposed_NM = torch.tensor([polarity(u) for u in ours])[:, None] * torch.tensor([polarity(u) for u in theirs]) < 0
    return cosine_NM.masked_fill(opposed_NM, 0)
