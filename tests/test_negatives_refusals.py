"""What each class must refuse to make: one example for each guard, on which the draw without the guard would fail."""

from __future__ import annotations

import random

from made_documents import example

from homestretch.data.records import Example
from homestretch.negatives import CORRUPTIONS, Corpus, Negative
from homestretch.negatives.base import invents
from homestretch.negatives.phrases import bare, surviving_bigrams, units


def made(name: str, one: Example, *others: Example, draws: int = 60) -> list[Negative]:
    """What a class makes of the first example over many seeds."""
    corrupt = CORRUPTIONS[name].factory(Corpus([one, *others]))
    drawn = [corrupt(one, random.Random(seed)) for seed in range(draws)]
    return [negative for negative in drawn if negative is not None]


def test_known_words_are_no_invention() -> None:
    about_a_cat = example("a", "The grey cat sleeps.", "A cat rests.")
    assert not invents(1)(about_a_cat, Negative("Grey cat rests.", "x"))
    assert invents(1)(about_a_cat, Negative("Grey dog rests.", "x"))
    assert not invents(1, share=0.5)(about_a_cat, Negative("Grey dog rests.", "x"))


def test_a_text_that_also_answers_this_document_is_borrowed_from_no_other() -> None:
    # `Gamma delta` comes first with another document: a donor that knew that one alone would look foreign to ours.
    ours, first = example("c", "same", "Alpha it."), example("a", "red", "Gamma delta.")
    assert made("irrelevant", ours, first) != []
    assert made("irrelevant", ours, first, example("b", "same", "Gamma delta.")) == []


def test_no_splice_or_near_miss_is_of_another_answer_to_the_same_document() -> None:
    ours = example("a", "d1 cat dog", "The engine sorts blocks with the quick index.")
    theirs = example("b", "d1 cat dog", "Sorting happens with a speedy lookup table.")
    other = example("c", "d2 cat bird", "Halls are shown with makers for guests.")
    before = example("0", "d0 cat fox", theirs.references[0])  # the same answer, first known from a like document
    for name in ("spliced", "near_miss"):
        assert any("lookup" in n.text for n in made(name, ours, other, before))
        found = made(name, ours, other, theirs)
        assert found and not any("lookup" in n.text for n in found)
        assert not any("lookup" in n.text for n in made(name, ours, other, theirs, before))


def test_many_answers_to_one_prompt_leave_similar_documents_in_sight() -> None:
    many = [example(f"a{i}", "red fox berries", f"Answer {i}.") for i in range(38)]
    far = [example(f"f{i}", f"steel{i} bolt{i}", f"Far {i}.") for i in range(200)]
    corpus = Corpus([*many, *far, example("b", "red fox hunger", "Other."), example("c", "red nuts", "More.")])
    assert [d.id for d, _ in corpus.similar(many[0], 1)] == ["b"]
    assert [d.id for d, _ in corpus.similar(many[0], 9)] == ["b", "c"]


def test_a_shuffle_that_leaves_most_neighbours_together_is_drawn_again() -> None:
    short = example("a", "x", "close window before sunset")
    found = made("shuffled", short)
    before = units(bare(short.references[0]))
    assert len(found) > 40
    assert max(surviving_bigrams(before, units(bare(n.text).lower())) for n in found) <= 0.5


def test_a_phrase_of_one_word_is_no_phrase() -> None:
    found = made("repetitive", example("a", "x", "ha ha ha ha ha ha"))
    assert {n.variant for n in found} <= {"word", "reference"} and found


def test_what_another_reference_says_is_no_false_name() -> None:
    others = [example(str(i), "z", "Ask for Bern.") for i in range(4)]
    assert made("swapped", example("a", "x", "It is in Rome."), *others) != []
    assert made("swapped", example("a", "x", "It is in Rome.", "It is near Bern."), *others) == []


def test_an_opposite_that_the_document_mentions_is_no_mistake() -> None:
    others = [example(str(i), "z", "Take the last item.") for i in range(9)]
    assert {n.text for n in made("opposite", example("a", "x", "Take the first item."), *others)} >= {
        "Take the last item."
    }
    said = made("opposite", example("a", "then the last", "Take the first item."), *others)
    assert "Take the last item." not in {n.text for n in said}
