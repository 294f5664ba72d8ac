"""BLEU and chrF, as sacrebleu defines them  (Papineni et al., 2002; Popović, 2015; Post, 2018)

    BLEU = 100 BP exp( mean_{n=1..4} ln p_n ),   p_n = matched n-grams / n-grams,   BP = exp(min(0, 1 - ref / sys))
    chrF = 100 (1 + 4) P R / (4 P + R),          P, R: mean over character 1- to 6-grams, several references: the best

Tokens of `13a`; an order without a match is smoothed with 1 / (2^k n-grams) for the k-th such order. A corpus value
is a function of sums over sentences, so `bleu_statistics` gives the ten numbers of each sentence and
`bleu_from_sums` turns sums of them into values: the bootstrap then never reads a text twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

Floats = NDArray[np.float64]
ORDERS = 4


def bleu_statistics(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Sufficient statistics, shape (n, 10): 4 matches, 4 counts, length, length of the reference nearest in length."""
    scorer = BLEU(effective_order=True)
    rows = []
    for text, refs in zip(texts, references, strict=True):
        score = scorer.sentence_score(text, list(refs))
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), 2 * ORDERS + 2)


def bleu_from_sums(sums: Floats, *, effective_order: bool = False) -> Floats:
    """BLEU, 0 to 100, of statistics summed over a corpus: shape (..., 10) to (...).

    `effective_order` leaves out orders for which the text has no n-gram, as is right for single sentences;
    without it such a text scores 0.
    """
    matched, count, length, wanted = (sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9])
    there = count > 0
    missed = there & (matched == 0)
    smoothed = 0.5 ** missed.cumsum(-1)
    precision = np.where(missed, smoothed, matched) / np.maximum(count, 1e-300)
    logs = np.log(np.where(there, precision, 1.0)).sum(-1)
    orders = there.sum(-1) if effective_order else np.full(logs.shape, ORDERS)
    brevity = np.minimum(0.0, 1 - wanted / np.maximum(length, 1e-300))
    possible = (matched.sum(-1) > 0) & (there.all(-1) | effective_order)
    return np.where(possible, 100 * np.exp(np.where(possible, logs / np.maximum(orders, 1) + brevity, 0.0)), 0.0)


def corpus_bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of a whole corpus, 0 to 100."""
    return float(bleu_from_sums(bleu_statistics(texts, references).sum(0)))


def sentence_bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU of each output alone, 0 to 100, orders longer than the output left out."""
    return [float(x) for x in bleu_from_sums(bleu_statistics(texts, references), effective_order=True)]


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """chrF of each output, 0 to 100."""
    scorer = CHRF()
    return [scorer.sentence_score(text, list(refs)).score for text, refs in zip(texts, references, strict=True)]
