"""ROUGE, la-ROUGE, copy rate, length ratio and the columns of `metrics.text`."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize

from homestretch.metrics.base import Outputs
from homestretch.metrics.rouge import (
    KINDS,
    la_rouge,
    la_rouge_scores,
    lcs_length,
    length_factor,
    random_f,
    rouge,
    rouge_score,
    rouge_words,
)
from homestretch.metrics.text import TEXT_METRICS, copy_rate, length_ratio, text_columns

CAT = "the cat sat on the mat"
sentence = st.lists(st.sampled_from(["a", "bb", "Cc", "dd,", "running", "ran!", "3.5"]), max_size=12).map(" ".join)
filled = st.lists(st.sampled_from(["a", "bb", "Cc", "dd", "running"]), min_size=2, max_size=12).map(" ".join)


def value(column):
    return float(column.finish(column.rows_NK.mean(0), len(column.rows_NK)))


@settings(max_examples=150)
@given(sentence, st.lists(sentence, min_size=1, max_size=3), st.booleans())
def test_rouge_equals_the_published_package(text, references, stem):
    scorer = RougeScorer(list(KINDS), use_stemmer=stem)
    best, first = scorer.score_multi(references, text), scorer.score(references[0], text)
    for kind in KINDS:
        # With several references only F is compared: rounding decides which of two equal ones they take.
        assert rouge(text, references, kind, stem=stem).f == pytest.approx(100 * best[kind].fmeasure)
        ours, theirs = rouge(text, references[:1], kind, stem=stem), first[kind]
        assert ours == pytest.approx([100 * theirs.precision, 100 * theirs.recall, 100 * theirs.fmeasure])


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_lcs_length_equals_the_table(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    assert lcs_length(a, b) == table[-1][-1]


@given(filled, filled)
def test_identical_text_scores_100_and_every_score_is_within_bounds(text, other):
    for kind in KINDS:
        assert rouge(text, [other, text], kind) == (100, 100, 100)
        assert la_rouge(text, [text], kind) == 100
        plain = rouge(text, [other], kind).f
        adjusted = [la_rouge(text, [other], kind, form=form) for form in "abc"]
        assert 0 <= plain <= 100
        assert all(0 <= x <= plain + 1e-9 for x in adjusted)
        assert adjusted[1] <= adjusted[0] + 1e-9


def test_latin_text_has_the_words_of_the_published_package():
    for code in range(0x250):
        text = f"Running a{chr(code)}b {chr(code)}running"
        assert list(rouge_words(text)) == tokenize(text, None)
        assert list(rouge_words(text, stem=True)) == tokenize(text, PorterStemmer())
    for word in ("ﬁne", "\uff26\uff55\uff4c\uff4c", "\U0001d400bold", "ẞtraße", "cafe\u0301s", "Ⱡ ꜩ \uab32 ᴀ ʰ"):
        assert list(rouge_words(word)) == tokenize(word, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Привет, мир! 3 дня", "привет мир 3 дня"),
        ("हिन्दी भाषा।", "हिन्दी भाषा"),  # vowel signs belong to their word
        ("مرحبا بالعالم", "مرحبا بالعالم"),
        ("한국어 문장", "한국어 문장"),
        ("你好、GPT2世界。", "你 好 gpt2 世 界"),
        ("カタカナ、ひらがな", "カ タ カ ナ ひ ら が な"),
        ("ที่นี่", "ที่ นี่"),
        ("ລາວ ខ្មែរ မြန်", "ລ າ ວ ខ្ មែ រ မြ န်"),
        ("ж_ш", "ж ш"),
    ],
)
def test_letters_of_other_scripts_are_words(text, words):
    assert rouge_words(text) == rouge_words(text, stem=True) == tuple(words.split())
    assert la_rouge(text, [text]) == 100
    assert la_rouge(text, ["nothing of it"]) == 0
    assert length_ratio(text, [text]) == copy_rate(text, text) == 1


def test_rouge_by_hand():
    # 5 words against 6; common words: the, cat, on, the -> 4; common bigrams: the cat -> 1 of 4 and of 5; LCS: 4
    words, reference = (rouge_words("the cat lay on the"), rouge_words("the cat was on the mat"))
    assert rouge_score(words, reference, "rouge1") == pytest.approx((80, 100 * 4 / 6, 200 * 4 / 11))
    assert rouge_score(words, reference, "rouge2") == pytest.approx((50, 40, 200 * 2 / 9))  # the cat, on the
    assert rouge_score(words, reference, "rougeL") == pytest.approx((80, 100 * 4 / 6, 200 * 4 / 11))
    assert rouge_score((), reference, "rougeL") == (0, 0, 0)


def test_length_factors_of_the_sheet():
    assert [0.4 * length_factor(30, 20, form) for form in "abc"] == pytest.approx(
        [0.266667, 0.266667, 0.242612], abs=1e-6
    )
    assert [0.4 * length_factor(10, 20, form) for form in "abc"] == pytest.approx([0.4, 0.2, 0.4])
    assert [length_factor(0, 20, form) for form in "abc"] == [0, 0, 0]


def test_la_rouge_of_the_sheet():
    longer = CAT + " the cat"
    assert rouge(longer, [CAT], "rouge1").f == pytest.approx(85.7143, abs=1e-4)
    forms = [la_rouge(longer, [CAT], "rouge1", form=form) for form in "abc"]
    assert forms == pytest.approx([64.2857, 64.2857, 61.4170], abs=1e-4)


def test_la_rouge_takes_the_best_reference_after_adjustment():
    # F 100 * 2*2/(4+2) = 66.7 with half the length wanted, 50 with the right length: 33.3 against 50
    text = "a b c d"
    assert la_rouge(text, ["a b", "a b x y"], "rouge1") == pytest.approx(50)
    assert rouge(text, ["a b", "a b x y"], "rouge1").f == pytest.approx(200 / 3)


def test_form_d_divides_by_the_score_of_random_output(monkeypatch):
    texts, references = ["a b c d", "a a x y"], [["a b c e"], ["a b"]]
    chance = random_f(texts, references, "rouge1", seed=3)
    scores = la_rouge_scores(texts, references, "rouge1", form="d", seed=3)
    assert scores == pytest.approx([75 / chance, 200 / 6 / chance])
    assert chance == random_f(texts, references, "rouge1", seed=3) != random_f(texts, references, "rouge1", seed=4)
    monkeypatch.setattr("homestretch.metrics.rouge.random_f", lambda *_, **__: 10.0)
    assert la_rouge_scores(["a b"], [["a c d"]], "rouge1", form="d") == pytest.approx([4.0])  # .4 over .1


def test_form_d_random_output_is_as_expected_where_that_can_be_computed():
    # One word in the pool: every random output is that word three times, so F is 100 against itself.
    assert random_f(["x y z"], [["w w w"]], "rougeL", seed=0) == 100
    # Two equally likely words, outputs of one word: half of the draws match.
    many = random_f(["x"] * 200, [["u"], ["v"]] * 100, "rouge1", seed=0)
    assert many == pytest.approx(50, abs=5)
    assert la_rouge_scores(["x"], [["only"]], "rouge2", form="d") is None


def test_copy_rate_and_length_ratio_by_hand():
    assert copy_rate("one two three four nine", "zero one two three four five") == 0.5  # 1 of 2 four-grams
    assert copy_rate("three four", "one two three four") == 1
    assert copy_rate("four three", "one two three four") == 0
    assert copy_rate("", "a b") == 0
    assert length_ratio("a b c", ["a b", "a b c d"]) == 1
    assert length_ratio("a b c", ["a b"]) == 1.5
    assert math.isnan(length_ratio("a", ["..."]))


def test_columns_cover_every_text_metric_and_leave_rows_without_references_out():
    outputs = Outputs(["x y", "a b c d"], [[], ["a b c d"]], ["q", "a b c d e"])
    columns = text_columns(outputs, form="b")
    assert list(columns) == list(TEXT_METRICS)
    for name, column in columns.items():
        assert column.rows_NK.shape[0] == 2
        assert np.isnan(column.rows_NK[0]).all() == (name not in ("distinct2", "copy_rate"))
        assert not np.isnan(column.rows_NK[1]).any()
    assert columns["rougeL"].rows_NK[1] == 100
    assert columns["copy_rate"].rows_NK[:, 0].tolist() == [0, 1]
    assert list(text_columns(Outputs(["a b"], [[]], [""]))) == ["distinct2", "copy_rate"]


def test_columns_agree_with_the_functions():
    texts, references = [CAT, "a dog"], [["the cat on a mat"], ["the dog", "a dog ran"]]
    columns = text_columns(Outputs(texts, references, ["", ""]), form="c")
    for kind in KINDS:
        expected = np.mean([la_rouge(t, r, kind, form="c") for t, r in zip(texts, references, strict=True)])
        assert value(columns[f"la_{kind}"]) == pytest.approx(expected)
        assert value(columns[kind]) == pytest.approx(
            np.mean([rouge(t, r, kind).f for t, r in zip(texts, references, strict=True)])
        )


def test_no_torch_is_imported():
    code = (
        "import sys, homestretch.evaluate, homestretch.metrics.text, homestretch.metrics.failures, "
        "homestretch.metrics.postprocess; sys.exit('torch' in sys.modules or 'nltk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
