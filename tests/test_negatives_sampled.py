"""Which of a model's samples are kept as bad, and as what."""

from __future__ import annotations

import random

import pytest
from made_documents import example

from homestretch.negatives import Corpus, Sample, Thresholds, corruptions, mine

REFERENCE = "one two three four five six seven eight nine ten"
DOCUMENT = example("a", "a document", REFERENCE)


def kept(*samples, filler=6, **settings):
    """What is kept of the samples, beside so many good ones of another document."""
    other = example("b", "another", REFERENCE)
    found = mine([DOCUMENT, other], {"a": samples, "b": [Sample(REFERENCE, True)] * filler}, per_example=9, **settings)
    assert "b" not in found
    return {n.text: n.variant for n in found.get("a", [])}


@pytest.mark.parametrize(
    ("text", "terminated", "variant"),
    [
        ("one two x y z p q r s t", False, "unended"),
        ("w w w w w w w w w w", True, "repeating"),
        ("one two", True, "length"),
        ("one x two y " + " ".join(f"n{i}" for i in range(20)), True, "length"),
        ("a b c d e f g h one two", True, "low_overlap"),
        ("one two three four x y z w v u", True, ""),  # F 0.4: bad, but not shown to be
        ("one two three four five x y z w v", False, ""),  # F 0.5: never
        (REFERENCE, False, ""),
        ("  ", False, ""),
    ],
)
def test_rules(text, terminated, variant):
    assert kept(Sample(text, terminated)) == ({text.strip(): variant} if variant else {})


UNSPACED = [
    ("我们提出一种新的方法来训练语言模型", "我们提出一种新方法来训练语言模型"),
    ("データを並べ替えて結果を返します", "データを並べ替え結果を返します"),
    ("ฟังก์ชันนี้คืนค่าผลลัพธ์ของตาราง", "ฟังก์ชันนี้คืนค่าผลลัพธ์ของตารางนี้"),
]


@pytest.mark.parametrize(("reference", "answer"), UNSPACED)
def test_a_nearly_right_answer_without_spaces_is_no_failure(reference, answer):
    document = example("a", "a document", reference)
    found = mine([document], {"a": [Sample(answer, True), Sample(answer, False)]}, per_example=9)
    assert found == {}


def test_characters_over_and_over_are_repeating():
    loop = Sample("我们训练" * 5, True)
    document = example("a", "a document", "这是一个全新的数据集、包括许多种不同的句子")
    assert [n.variant for n in mine([document], {"a": [loop]})["a"]] == ["repeating"]


def test_low_overlap_is_relative_to_all_samples():
    texts = ["a b c d e f g h i j", "a b c d e f g h i one", "a b c d e f g h one two"]  # F 0, 0.1, 0.2
    samples = [Sample(t, True) for t in texts]
    assert kept(*samples, filler=2) == {texts[0]: "low_overlap"}
    assert kept(*samples, filler=7) == dict.fromkeys(texts[:2], "low_overlap")
    assert kept(*samples, filler=12) == dict.fromkeys(texts, "low_overlap")


def test_thresholds_are_settings():
    sample = Sample("one two three four x y z w v u", True)
    assert kept(sample, thresholds=Thresholds(low=0.45)) == {sample.text: "low_overlap"}
    assert kept(Sample("one two", True), thresholds=Thresholds(shortest=0.1, low=0.0)) == {}
    assert kept(Sample(REFERENCE, False), thresholds=Thresholds(good=1.1)) == {REFERENCE: "unended"}


def test_at_most_per_example_and_none_twice():
    samples = [Sample(f"x{i % 4} y", True) for i in range(12)]
    ones = [mine([DOCUMENT], {"a": samples}, seed=s)["a"] for s in range(20)]
    assert {len(found) for found in ones} == {1}
    assert len({found[0].text for found in ones}) > 1
    assert len(mine([DOCUMENT], {"a": samples}, per_example=9)["a"]) == 4
    assert mine([DOCUMENT], {"a": list(reversed(samples))}) == mine([DOCUMENT], {"a": samples})


def test_corruption_gives_the_documents_own_samples():
    found = mine([DOCUMENT], {"a": [Sample("nothing of it", False)]})
    corrupt = corruptions(["mined"], Corpus([DOCUMENT]), kept=found)["mined"]
    negative = corrupt(DOCUMENT, random.Random(0))
    assert negative is not None
    assert (negative.text, negative.terminated, negative.failure_mode) == ("nothing of it", False, "mined")
    assert corrupt(example("c", "x", "y"), random.Random(0)) is None
    assert mine([], {}) == {}
