"""Features by words alone, by hand and over made texts; praise and complaint by a list of words."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.metrics.lexicon import content_stems, content_words
from homestretch.rewards.opinions import NEGATIVE, NEGATORS, POSITIVE, polarity
from homestretch.rewards.word_features import (
    ASPECTS,
    aspect_coverage,
    aspects,
    conciseness,
    specifics_support,
    units_of,
    word_support,
)

REVIEWS = "The battery life is great. Small screen!\nBattery life of a week\nI like the screen; the colour fades."
WORDS = "battery life screen colour week great fades 12 Sony The not a. \n".split(" ")
made_texts = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


def test_units_are_sentences_of_lines() -> None:
    assert units_of(REVIEWS) == [
        "The battery life is great.", "Small screen!", "Battery life of a week", "I like the screen; the colour fades."
    ]  # fmt: skip
    assert units_of("...\n\n !") == units_of("") == []


def test_stems_are_content_words_in_order_and_as_often() -> None:
    text = "The building of 12 snake_case buildings"
    assert content_stems(text) == ("build", "12", "snake", "case", "build")
    assert content_words(text) == {"build", "12", "snake", "case"}


def test_aspects_are_what_several_units_say() -> None:
    assert aspects(REVIEWS) == {"batte": 2, "life": 2, "batte life": 2, "scree": 2}
    assert aspects("One red boat. Two blue cars.") == dict.fromkeys(["one", "red", "boat", "two", "blue", "cars"], 1)
    many = aspects(". ".join(f"word{i}x" for i in range(100)))
    assert len(many) <= ASPECTS
    assert aspects("of the") == {} and aspect_coverage("of the", "red") is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The battery.", 2),
        ("Its battery life!", 6),
        ("A life with batteries.", 4),
        ("Screens", 2),
        ("A colour", 0),
        ("", 0),
    ],
)
def test_aspect_coverage_by_hand(text: str, share: int) -> None:
    """Weights: battery 2, life 2, battery life 2, screen 2."""
    assert aspect_coverage(REVIEWS, text) == share / 8


def test_aspects_are_the_same_in_every_process() -> None:
    """Strings hash to other numbers in each; which of equally frequent aspects are kept must not hang on that."""
    document = " ".join(f"w{i:03d} w{i:03d}y." for i in range(60)) * 2
    code = f"from homestretch.rewards.word_features import aspects; print(list(aspects({document!r})))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_support_by_hand() -> None:
    document = "Sony sells 3 phones in Japan."
    assert specifics_support(document, "In Japan they sell 3 phones by Nokia.") == 2 / 3
    assert specifics_support(document, "They sell phones.") == 1
    assert word_support(document, "Japan buys phones") == 2 / 3
    assert word_support(document, "they do so") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red boats", 1 - 2 / 10),
        ("red boats. red boats.", 0.0),
        ("red boats. red cars.", (1 - 1 / 2) * (1 - 4 / 10)),
        ("a b c d e f g h i j", 0.0),
        ("a b c d e f g h i j k", 0.0),
        ("so it is so it is so it is", (1 - 3 / 6) * (1 - 9 / 10)),
    ],
)
def test_conciseness_by_hand(text: str, expected: float) -> None:
    document = "one two three four five six seven eight nine ten"
    assert conciseness(document, text) == pytest.approx(expected)
    assert conciseness("...", text) is None


@given(made_texts, made_texts)
def test_ranges(document: str, text: str) -> None:
    for feature in (aspect_coverage, conciseness, specifics_support, word_support):
        value = feature(document, text)
        assert value is None or 0 <= value <= 1


@given(made_texts.filter(lambda d: bool(content_words(d))), made_texts)
def test_a_document_covers_and_supports_itself_and_saying_more_covers_no_less(document: str, more: str) -> None:
    assert aspect_coverage(document, document) == word_support(document, document) == 1
    assert specifics_support(document, document) == 1 and conciseness(document, document) == 0
    assert (aspect_coverage(document, f"{more}\n{document}") or 0) == 1
    assert (aspect_coverage(document, more) or 0) <= 1


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("I love the great screen.", 1),
        ("It broke, what a waste.", -1),
        ("It has a screen.", 0),
        ("It is not good.", -1),
        ("It isn\u2019t any good.", -1),
        ("No problems, none at all.", 1),
        ("Good but broken.", 0),
        ("Not what one would ever have called good.", 1),
        ("", 0),
    ],
)
def test_polarity_by_hand(sentence: str, expected: int) -> None:
    assert polarity(sentence) == expected


def test_the_lists_do_not_contradict_each_other() -> None:
    assert not POSITIVE & NEGATIVE and not (POSITIVE | NEGATIVE) & NEGATORS
    assert all(word == word.lower() for word in POSITIVE | NEGATIVE | NEGATORS)
    assert {polarity(word) for word in POSITIVE} == {1} and {polarity(word) for word in NEGATIVE} == {-1}
