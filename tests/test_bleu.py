"""BLEU and chrF against sacrebleu, and BLEU from sums against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from homestretch.metrics.bleu import bleu_from_sums, bleu_statistics, chrf, corpus_bleu, sentence_bleu

words = st.lists(st.sampled_from("a b c d e".split()), max_size=8).map(" ".join)
corpus = st.lists(st.tuples(words, words), min_size=1, max_size=5)


@settings(max_examples=150)
@given(corpus)
def test_corpus_and_sentence_bleu_equal_sacrebleu(pairs):
    texts, references = [t for t, _ in pairs], [r for _, r in pairs]
    nested = [[r] for r in references]
    assert corpus_bleu(texts, nested) == pytest.approx(sacrebleu.corpus_bleu(texts, [references], force=True).score)
    expected = [sacrebleu.sentence_bleu(t, [r]).score for t, r in pairs]
    assert sentence_bleu(texts, nested) == pytest.approx(expected)
    assert all(0 <= x <= 100 + 1e-9 for x in (*expected, *chrf(texts, nested)))


def test_bleu_by_hand():
    # 4 of 5 words, 2 of 4 bigrams, 1 of 3 trigrams, 0 of 2 four-grams (smoothed to 1/2 of 2); 5 words against 6
    text, reference = "a b c x d", "a b c d e f"
    expected = 100 * math.exp(1 - 6 / 5) * (4 / 5 * 2 / 4 * 1 / 3 * (1 / 2) / 2) ** 0.25
    assert corpus_bleu([text], [[reference]]) == pytest.approx(expected)


def test_several_references_may_differ_in_number():
    texts = ["a b c d e", "x y z w"]
    assert corpus_bleu(texts, [["q", "a b c d e"], ["x y z w"]]) == pytest.approx(100)
    assert chrf(["a b"], [["c", "a b"]]) == pytest.approx([100])


def test_sums_may_be_stacked_and_nothing_in_common_scores_0():
    rows = bleu_statistics(["a b c d e", "q"], [["a b c d e"], ["a"]])
    assert rows.shape == (2, 10)
    stacked = bleu_from_sums(np.stack([rows.sum(0), rows[0], rows[1], np.zeros(10)]))
    assert stacked[1] == pytest.approx(100)
    assert stacked[2] == stacked[3] == 0
    assert stacked[0] == pytest.approx(corpus_bleu(["a b c d e", "q"], [["a b c d e"], ["a"]]))
