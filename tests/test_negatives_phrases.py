"""Cutting, joining and finding: the parts that corruptions are made of."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.negatives.entities import entities, perturbed
from homestretch.negatives.phrases import dressed, join, surviving_bigrams, units


def test_surviving_bigrams_of_the_sheet():
    assert surviving_bigrams([1, 2, 3, 4, 5], [2, 3, 1, 5, 4]) == 1 / 4
    assert surviving_bigrams([1, 2, 3, 4, 5], [3, 4, 5, 1, 2]) == 3 / 4
    assert surviving_bigrams("abab", "baab") == 2 / 3  # ab, ba, ab against ba, aa, ab: each is counted once
    assert surviving_bigrams([1], [1]) == 0


@given(st.integers(0, 10**9), st.integers(0, 4), st.integers(0, 2**32))
def test_a_perturbed_number_is_another_of_its_form(value, decimals, seed):
    number = f"{value / 10**decimals:.{decimals}f}"
    other = perturbed(number, random.Random(seed))
    assert float(other) != float(number)
    assert len(other.partition(".")[2]) == decimals


@pytest.mark.parametrize("number", ["1,000", "0", "0.0", "10.2.3", "٣٤", "0,0"])
def test_numbers_of_any_form(number):
    assert perturbed(number, random.Random(0)) != number


def test_entities_by_spelling():
    text = "The Rome office of NASA sent 12 rows to `x` and max_rows, or os.path by fontTools in New York."
    assert [(e.text, e.type) for e in entities(text, {"Rome"})] == [
        ("Rome", "name"), ("NASA", "acronym"), ("12", "number"), ("`x`", "quoted"), ("max_rows", "snake"),
        ("os.path", "dotted"), ("fontTools", "camel"), ("New York", "name"),
    ]  # fmt: skip
    assert entities("Theory of it. Practice of it.", set()) == []


def test_dressed_hides_where_a_text_was_cut():
    assert dressed("some words, and", "A sentence.") == "Some words, and."
    assert dressed("some words,", "A sentence.") == "Some words."
    assert dressed("Some words!", "no sentence") == "Some words"
    assert dressed(" ", "A sentence.") == ""


@given(st.text())
def test_units_lose_nothing_but_space(text):
    assert "".join(units(text)) == "".join(text.split())
    assert units(join(units(text))) == units(text)
    assert join(units(text)) == text.strip()


def test_units_take_their_line_breaks_along():
    parts = units("First line.\n    Second line.\nThird.")
    assert join([parts[4], *parts[:2], *parts[2:4]]) == "Third. First line.\n    Second line."
    assert join(parts[:2] + parts[4:]) == "First line.\nThird."
    mixed = units("用 GPT 写字")
    assert join([mixed[1], mixed[0], *mixed[2:]]) == "GPT用 写字"


def test_plain_words_are_joined_as_their_script_has_it():
    assert join(["a", "b", "東", "京", "c"]) == "a b東京c"
