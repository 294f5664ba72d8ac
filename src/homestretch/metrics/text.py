"""Text metrics of a set of outputs: ROUGE, la-ROUGE, BLEU, chrF, distinct-2, copy rate, length ratio.

Equations are in `METRICS` (`homestretch.metrics`) and in the files that compute them. Lengths and copies are counted
in ROUGE words. Words of sources and references are found once, however many arms are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

import numpy as np

from homestretch.metrics.base import Column, Floats, Outputs
from homestretch.metrics.bleu import bleu_from_sums, bleu_statistics, chrf, corpus_bleu, sentence_bleu
from homestretch.metrics.diversity import distinct_column
from homestretch.metrics.rouge import (
    Form,
    Kind,
    Words,
    la_rouge,
    la_rouge_scores,
    lcs_length,
    ngrams,
    rouge,
    rouge_words,
)

__all__ = [
    "TEXT_METRICS",
    "chrf",
    "copy_rate",
    "corpus_bleu",
    "la_rouge",
    "la_rouge_scores",
    "lcs_length",
    "length_ratio",
    "rouge",
    "rouge_words",
    "sentence_bleu",
    "text_columns",
]
COPY_ORDER = 4


def copy_rate(text: str, source: str) -> float:
    """Share, 0 to 1, of the output's 4-grams of words that stand in the source.

    Outputs of fewer than four words count as one n-gram of all their words; an empty one copies nothing.
    """
    words = rouge_words(text)
    if not words:
        return 0.0
    n = min(COPY_ORDER, len(words))
    known = _grams_of_source(source, n)
    grams = ngrams(words, n)
    return sum(count for gram, count in grams.items() if gram in known) / grams.total()


def length_ratio(text: str, references: Sequence[str]) -> float:
    """Words of the output over the mean number of words of its references; NaN where these have no words."""
    wanted = sum(len(rouge_words(r)) for r in references)
    return len(rouge_words(text)) * len(references) / wanted if wanted else float("nan")


def _rouge_column(kind: Kind) -> Callable[[Outputs], Column]:
    return lambda o: Column.of_scores([rouge(t, r, kind).f for t, r in zip(o.texts, o.references, strict=True)])


def _bleu_column(outputs: Outputs) -> Column:
    def finish(means: Floats, n: int) -> Floats:
        return bleu_from_sums(means * n)

    return Column(bleu_statistics(outputs.texts, outputs.references), finish)


_PLAIN: dict[str, Callable[[Outputs], Column]] = {
    "rouge1": _rouge_column("rouge1"),
    "rouge2": _rouge_column("rouge2"),
    "rougeL": _rouge_column("rougeL"),
    "bleu": _bleu_column,
    "chrf": lambda o: Column.of_scores(chrf(o.texts, o.references)),
    "distinct2": lambda o: distinct_column(o.texts, prompts=o.prompts),
    "copy_rate": lambda o: Column.of_scores([copy_rate(t, s) for t, s in zip(o.texts, o.sources, strict=True)]),
    "length_ratio": lambda o: Column.of_scores(
        [length_ratio(t, r) for t, r in zip(o.texts, o.references, strict=True)]
    ),
}
_LENGTH_ADJUSTED: dict[str, Kind] = {"la_rouge1": "rouge1", "la_rouge2": "rouge2", "la_rougeL": "rougeL"}
TEXT_METRICS = (*_PLAIN, *_LENGTH_ADJUSTED)


def text_columns(
    outputs: Outputs, names: Collection[str] = TEXT_METRICS, *, form: Form = "a", seed: int = 0
) -> dict[str, Column]:
    """The named metrics, one column each; rows without references have NaN where a metric needs some.

    `form`: of la-ROUGE; form d draws its random outputs from `seed` and is left out where it is not defined.
    """
    has = np.array([bool(refs) for refs in outputs.references], dtype=bool)
    judged = outputs.select(np.flatnonzero(has))
    columns: dict[str, Column] = {}
    for name in names:
        if name in ("distinct2", "copy_rate"):
            columns[name] = _PLAIN[name](outputs)
        elif has.any() and name in _PLAIN:
            columns[name] = _spread(_PLAIN[name](judged), has)
        elif has.any() and name in _LENGTH_ADJUSTED:
            scores = la_rouge_scores(judged.texts, judged.references, _LENGTH_ADJUSTED[name], form=form, seed=seed)
            if scores is not None:
                columns[name] = _spread(Column.of_scores(scores), has)
    return columns


def _spread(column: Column, has: np.ndarray) -> Column:
    rows = np.full((len(has), column.rows_NK.shape[1]), np.nan)
    rows[has] = column.rows_NK
    return Column(rows, column.finish)


@lru_cache(maxsize=4096)
def _grams_of_source(source: str, n: int) -> frozenset[Words]:
    return frozenset(ngrams(rouge_words(source), n))
