"""What each class promises beyond the contract: the guards of the sheet, and ours."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from made_documents import any_examples, documents, example
from rouge_score import rouge_scorer

from homestretch.metrics.sentences import is_finished, words
from homestretch.negatives import CORRUPTIONS, Corpus, Negative
from homestretch.negatives.actions import deed
from homestretch.negatives.base import guarded, overlap
from homestretch.negatives.entities import entities
from homestretch.negatives.phrases import bare, ending, join, surviving_bigrams, units, word_count
from homestretch.negatives.verbs import action_groups, contradict, opposites

DOCUMENTS = documents()
CORPUS = Corpus(DOCUMENTS)
SEEDS = range(12)


def made(name, examples=DOCUMENTS, corpus=CORPUS):
    corrupt = CORRUPTIONS[name].factory(corpus)
    drawn = [(e, corrupt(e, random.Random(f"{s} {e.id}"))) for e in examples for s in SEEDS]
    return [(e, n) for e, n in drawn if n is not None]


def test_overlap_is_rouge():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"])
    a, b = "the cat sat on the mat the cat", "the cat sat on the mat"
    for kind in ("rouge1", "rougeL"):
        assert overlap(a, example("x", "", b), kind) == pytest.approx(scorer.score(b, a)[kind].fmeasure)
    assert overlap("東京 は", example("x", "", "東京 は"), "rouge1") == 1  # words of any script


def test_a_refused_draw_is_drawn_again_twenty_times_at_most():
    calls = []

    def draw(_example, _rng):
        calls.append(1)
        return Negative("good" if len(calls) == 20 else "same", "x")

    assert guarded(draw)(example("x", "", "Same"), random.Random(0)) == Negative("good", "x")
    calls.clear()
    assert guarded(draw, lambda _e, n: n.text != "good")(example("x", "", "same"), random.Random(0)) is None
    assert len(calls) == 20


def test_random_has_the_lengths_of_references():
    vocabulary = ["qu", "xo"]
    corpus = Corpus(DOCUMENTS, vocabulary=vocabulary, tokens_per_word=2.0)
    lengths = Counter(word_count(n.text) for _, n in made("random", corpus=corpus))
    assert set(lengths) == {2 * n for n in corpus.lengths}
    assert {u for _, n in made("random", corpus=corpus) for u in units(n.text)} == set(vocabulary)
    asked = []
    corpus = Corpus(DOCUMENTS, vocabulary=lambda _rng, n: asked.append(n) or "zz")
    made("random", corpus=corpus)
    assert set(asked) == set(corpus.lengths)


@settings(max_examples=80)
@given(any_examples())
def test_shuffled(examples):
    for e, n in made("shuffled", examples, Corpus(examples)):
        before, after = units(bare(e.references[0].strip()).lower()), units(bare(n.text).lower())
        assert len(before) >= 4
        assert ending(n.text) == ending(e.references[0])
        if all(w.isalnum() for w in before):
            assert sorted(before) == sorted(after)
            assert surviving_bigrams(before, after) <= 0.5


def test_repetitive_repeats_and_keeps_to_the_limit():
    corpus = Corpus(DOCUMENTS, max_words=20)
    found = made("repetitive", corpus=corpus)
    assert {n.variant for _, n in found} == {"word", "phrase", "loop", "reference"}
    for e, n in found:
        text = units(n.text)
        assert len(text) <= 20
        assert 0.5 * word_count(e.references[0]) <= len(text) <= 4 * word_count(e.references[0])
        grams = Counter(text) if n.variant == "word" else Counter(pairwise(text))
        assert max(grams.values()) >= 2 or n.variant == "reference"
        if n.variant == "phrase":
            assert len(set(text)) >= 2
    longer = [word_count(n.text) > word_count(e.references[0]) for e, n in found]
    assert 0.35 < sum(longer) / len(longer) < 0.65


def test_run_on_is_half_truncated_half_unended():
    found = made("run_on")
    for e, n in found:
        reference, text = units(e.references[0]), units(n.text)
        if n.variant == "truncated":
            assert n.terminated
            assert text == reference[: len(text)]
            assert len(reference) - len(text) >= 2
            assert not is_finished(n.text)
            assert round(0.3 * len(reference)) <= len(text) <= round(0.8 * len(reference))
        else:
            assert not n.terminated
            assert text[: len(reference)] == reference
            assert len(reference) < len(text) <= CORPUS.max_words
    assert 0.4 < sum(n.terminated for _, n in found) / len(found) < 0.6


def test_a_cut_at_a_sentence_end_is_refused():
    whole = example("x", "", "One two three. Four five.")
    texts = {n.text for _, n in made("run_on", [whole], Corpus([whole])) if n.terminated}
    assert texts <= {"One two"}


@pytest.mark.parametrize(
    ("name", "kind", "limit"), [("irrelevant", "rouge1", 0.5), ("near_miss", "rouge1", 0.5), ("copy", "rougeL", 0.7)]
)
def test_overlap_guards(name, kind, limit):
    close = [example(f"{i}", f"the {w} is red and old", f"the {w} is red") for i, w in enumerate(("cat", "dog", "cow"))]
    examples = [*DOCUMENTS, *close]
    found = made(name, examples, Corpus(examples))
    assert max(overlap(n.text, e, kind) for e, n in found) <= limit
    assert name == "copy" or not any(n.text in {c.references[0] for c in close} for e, n in found if e in close)


def test_irrelevant_is_a_derangement_of_like_lengths():
    for k in range(5):
        partners = [CORPUS.partner(e, k) for e in DOCUMENTS]
        assert sorted(p.text for p in partners) == sorted(e.references[0] for e in DOCUMENTS)
        assert all(p.id != e.id for p, e in zip(partners, DOCUMENTS, strict=True))


@pytest.mark.parametrize("n", [2, 3, 16, 17, 33])
def test_derangements_of_any_size(n):
    examples = [example(f"{i:02}", f"s{i}", "word " * (i + 1)) for i in range(n)]
    corpus = Corpus(examples)
    assert sorted(corpus.partner(e, 0).id for e in examples) == [e.id for e in examples]
    assert all(corpus.partner(e, 0).id != e.id for e in examples)


def test_irrelevant_needs_another_source():
    pair = [example("a", "same", "Alpha beta."), example("b", "same", "Gamma delta.")]
    assert made("irrelevant", pair, Corpus(pair)) == []


def test_near_miss_is_about_nearly_the_same_and_invents():
    examples = [
        example("a", "the red fox eats berries in autumn", "A fox and its meals."),
        example("b", "the red fox eats berries in spring", "On hunger after winter."),
        example("c", "bolts and nuts hold a bridge", "How steel is joined."),
        example("d", "the red fox eats, so hungry after every winter", "On hunger after winter, it is."),
    ]
    corpus = Corpus(examples)
    assert corpus.similar(examples[0], 1)[0][0].id == "b"
    texts = {n.text for _, n in made("near_miss", examples[:1], corpus)}
    assert examples[1].references[0] in texts
    assert examples[2].references[0] not in texts  # no word in common
    assert examples[1].references[0] not in {n.text for _, n in made("near_miss", examples[3:], corpus)}  # true of d


def test_copy_is_of_the_document_not_of_the_prompt():
    for e, n in made("copy"):
        assert "Summary" not in n.text
        assert set(words(n.text)) <= set(words(e.source))
        assert n.variant == "whole" or word_count(n.text) <= word_count(e.references[0])


def test_spliced_starts_as_the_reference_and_ends_as_another():
    for e, n in made("spliced"):
        ours, text = units(bare(e.references[0])), units(bare(n.text))
        same = next(i for i, (a, b) in enumerate(zip(ours, text, strict=False)) if a != b)
        assert same >= 1
        assert any(bare(d.text).endswith(join(text[same:])) for d in CORPUS.donors)
        assert set(words(join(text[same:]))) - set(words(e.source)) - set(words(e.references[0]))


def test_swapped_puts_in_what_neither_document_nor_reference_has():
    for e, n in made("swapped"):
        evidence = f"{e.source} {e.references[0]}".casefold()
        new = [x.text for x in entities(n.text, CORPUS.names) if x.text.casefold() not in evidence]
        assert 1 <= len(new) <= 3
        assert word_count(n.text) in range(word_count(e.references[0]) - 3, word_count(e.references[0]) + 4)


def test_swapped_keeps_the_type():
    examples = [
        example("a", "x", "It took 12 hours."),
        example("b", "y", "It is in Rome."),
        example("c", "z", "Ask for Bern."),
    ]
    texts = {n.text for _, n in made("swapped", examples[1:], Corpus(examples))}
    assert texts == {"It is in Bern.", "Ask for Rome."}


@pytest.mark.parametrize(
    ("ours", "others"),
    [("GAN", ["GANs", "CNN"]), ("Hong Kong", ["British Hong Kong", "Old Bern"]), ("FC", ["AFC", "UN"])],
)
def test_a_name_is_not_replaced_by_one_that_contains_it(ours, others):
    examples = [example(str(i), f"s{i}", f"It is in {name}.") for i, name in enumerate([ours, *others])]
    texts = {n.text for _, n in made("swapped", examples[:1], Corpus(examples))}
    assert texts == {f"It is in {others[1]}."}


def test_action_contradicts():
    found = made("action")
    assert {n.variant for _, n in found} == {"verb", "object"}
    for e, n in found:
        ours, theirs = deed(e.references[0]), deed(n.text)
        if n.variant == "verb":
            assert contradict(action_groups(ours.verb), action_groups(theirs.verb))
            assert ours.object == theirs.object
        else:
            assert ours.verb == theirs.verb
            assert set(words(join(theirs.object))) - set(words(e.source))


def test_a_verb_that_the_document_mentions_is_no_mistake():
    assert contradict(action_groups("Returns"), action_groups("removes"))
    assert not contradict(action_groups("return"), action_groups("compute"))
    names = {"a": "Remove the file.", "b": "Sort the file."}
    examples = [example(k, "Old ones are sorted, some delete it.", r) for k, r in names.items()]
    assert not [n for _, n in made("action", examples[1:], Corpus(examples)) if n.variant == "verb"]


def test_what_replaces_a_verb_is_as_frequent_as_what_it_replaces():
    verbs = ["Return"] * 6 + ["Remove"] * 3 + ["Sort"] * 2 + ["Close"]
    examples = [example(str(i), f"text {i}", f"{v} the item {i}.") for i, v in enumerate(verbs * 10)]
    corrupt = CORRUPTIONS["action"].factory(Corpus(examples))
    before, after = Counter(), Counter()
    for e in examples:
        for s in range(40):
            n = corrupt(e, random.Random(f"{s} {e.id}"))
            if n is not None and n.variant == "verb":
                before[e.references[0].split()[0]] += 1
                after[n.text.split()[0]] += 1
    for verb in set(verbs):
        assert abs(before[verb] - after[verb]) < 0.05 * before.total()


def test_roles_changes_places():
    e = example("a", "x", "Convert a string to a number.")
    assert {n.text for _, n in made("roles", [e], Corpus([e]))} == {"Convert a number to a string."}
    same = example("b", "x", "Merge the left and the right.")
    assert made("roles", [same], Corpus([same])) == []


def test_names_that_look_like_verbs_are_no_deeds():
    rows = [
        example(str(i), "x", f"{name} is city {i}.") for i, name in enumerate(["Bern", "Rome", "Oslo", "Pop Rock"] * 5)
    ]
    rows.append(example("v", "y", "Convert a string to a number."))
    assert deed("Test Valley is a district.") is None
    assert made("action", rows, Corpus(rows)) == made("roles", rows, Corpus(rows)) == []


def test_opposite_is_one_word_and_symmetric_in_frequency():
    assert all(a in opposites()[b] for a, others in opposites().items() for b in others)
    often = [example(f"a{i}", f"text {i}", f"Take the first item {i}.") for i in range(80)]
    seldom = [example(f"b{i}", f"text {i}", f"Take the last item {i}.") for i in range(20)]
    found = made("opposite", [*often, *seldom], Corpus([*often, *seldom]))
    to_last = sum("last" in n.text for _, n in found)
    to_first = sum("first" in n.text for _, n in found)
    assert to_first == 20 * len(SEEDS)  # min(80, 20) of each kind is turned
    assert to_last == pytest.approx(20 * len(SEEDS), rel=0.25)
    one_of_two = [example(f"a{i}", f"text {i}", f"Close the lower door {i}.") for i in range(40)]
    other_way = [example(f"b{i}", f"text {i}", f"Close the upper door {i}.") for i in range(40)]
    found = made("opposite", [*one_of_two, *other_way], Corpus([*one_of_two, *other_way]))
    to_upper = sum("upper" in n.text for _, n in found)
    assert sum("lower" in n.text for _, n in found) == pytest.approx(to_upper, rel=0.25)  # `lower` has two opposites
    both = [example("c", "the first and the last", "Take the first item.")]
    assert made("opposite", both, Corpus([*both, *often, *seldom])) == []
