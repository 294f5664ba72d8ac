"""Rows: which class an example gets, what a row holds, and that length tells nothing."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace

import pytest
from made_documents import documents, example

from homestretch.data.records import Example, example_from_row
from homestretch.data.sources import load
from homestretch.negatives import CORRUPTIONS, Corpus, Negative, corruptions
from homestretch.negatives.audit import FINE, audit
from homestretch.negatives.mix import make_negatives
from homestretch.negatives.phrases import word_count

DOCUMENTS = documents()
MADE = corruptions(CORRUPTIONS, Corpus(DOCUMENTS))


def test_a_row_is_a_preference_row():
    row = make_negatives(DOCUMENTS, {"run_on": MADE["run_on"]})[0]
    assert set(row) == {"prompt", "chosen", "rejected", "failure_mode", "variant", "rejected_terminated", "id"}
    assert (row["prompt"], row["chosen"], row["id"]) == (DOCUMENTS[0].prompt, DOCUMENTS[0].completion, DOCUMENTS[0].id)
    assert row["rejected"].startswith(" ")
    assert row["rejected"][1:] == row["rejected"].strip()
    assert row["rejected_terminated"] is (row["variant"] == "truncated")
    again = example_from_row(json.loads(json.dumps(row)), where="rows.jsonl:1")
    assert again.columns["rejected"] == row["rejected"]


def test_messages_are_answered_with_a_message():
    chat = replace(
        DOCUMENTS[0],
        prompt=[{"role": "user", "content": "x"}],
        completion=[{"role": "assistant", "content": DOCUMENTS[0].references[0]}],
    )
    row = make_negatives([chat], {"copy": MADE["copy"]})[0]
    assert [m["role"] for m in row["rejected"]] == ["assistant"]
    assert row["rejected"][0]["content"] != row["chosen"][0]["content"]


@pytest.mark.parametrize("edges", ["{}\n", "{} ", " {}\n\n", "\n{}"])
def test_white_space_around_the_answer_tells_nothing(edges):
    text = DOCUMENTS[0].references[0]
    chat = [{"role": "assistant", "content": edges.format(text)}]
    for completion in (edges.format(text), chat):
        whole = replace(DOCUMENTS[0], completion=completion, references=(edges.format(text),))
        for row in make_negatives([whole], MADE, classes_per_example="all"):
            rejected = row["rejected"] if completion is not chat else row["rejected"][0]["content"]
            assert rejected == edges.format(rejected.strip())


def test_answers_of_several_lines_keep_their_line_breaks():
    lines = ["Take the old window and close it.", "    Then write to it, and stop.", "Return the first part of it."]
    examples = [example(str(i), f"text {i}", "\n".join([f"Part {i} of all.", *lines])) for i in range(8)]
    made = corruptions(["shuffled", "run_on", "repetitive"], Corpus(examples))
    rows = make_negatives(examples, made, classes_per_example="all")
    assert {r["failure_mode"] for r in rows} == set(made)
    for r in rows:
        breaks, whole = r["rejected"].count("\n"), "\n".join(lines)
        if r["failure_mode"] == "shuffled":
            assert 2 <= breaks <= 3  # one is lost where the unit behind it comes first
        if r["variant"] == "truncated":
            assert r["chosen"].startswith(r["rejected"])
        if r["variant"] == "continued":
            assert whole in r["rejected"]


def test_rows_do_not_depend_on_other_classes_or_on_order():
    whole = make_negatives(DOCUMENTS, MADE, classes_per_example="all", seed=3)
    shuffled = random.Random(1).sample(DOCUMENTS, len(DOCUMENTS))
    parts = [row for name in reversed(CORRUPTIONS) for row in make_negatives(shuffled, {name: MADE[name]}, seed=3)]
    assert {repr(row) for row in whole} <= {repr(row) for row in parts}
    assert {(r["id"], r["rejected"]) for r in whole} == {(r["id"], r["rejected"]) for r in parts}  # none twice in whole


def test_seed_and_epoch_change_the_rows():
    def rejected(classes=MADE, **settings):
        return [r["rejected"] for r in make_negatives(DOCUMENTS, classes, **settings)]

    assert rejected() == rejected(seed=0, epoch=0)
    for classes in (MADE, {"shuffled": MADE["shuffled"]}):
        assert rejected(classes) != rejected(classes, seed=1)
        assert rejected(classes) != rejected(classes, epoch=1)


def always(name):
    return lambda _example, _rng: Negative(f"A text of {name}.", name)


def test_classes_are_uniform_and_weights_are_ratios():
    examples = [example(str(i), "", "A text of mine.") for i in range(3000)]
    classes = {name: always(name) for name in "abc"}
    counts = Counter(r["failure_mode"] for r in make_negatives(examples, classes))
    assert all(900 < counts[name] < 1100 for name in "abc")
    counts = Counter(r["failure_mode"] for r in make_negatives(examples, classes, weights={"a": 3.0, "b": 0.0}))
    assert counts["b"] == 0
    assert counts["a"] / counts["c"] == pytest.approx(3.0, rel=0.2)


def test_the_next_class_steps_in_where_one_does_not_apply():
    examples = [example(str(i), "", "A text of mine.") for i in range(20)]
    classes = {"never": lambda _e, _r: None, "a": always("a"), "b": always("b")}
    assert {r["failure_mode"] for r in make_negatives(examples, classes)} == {"a", "b"}
    assert len(make_negatives(examples, classes, classes_per_example=2)) == 40
    assert len(make_negatives(examples, classes, classes_per_example="all")) == 40
    twins = {"a": lambda _e, _r: Negative("One.", "a"), "b": lambda _e, _r: Negative("One.", "b")}
    assert len(make_negatives(examples, twins, classes_per_example="all")) == 20


def test_sides_are_balanced_where_a_class_has_both():
    examples = [example(str(i), "", "one two three four five six") for i in range(1000)]

    def mostly_longer(_example, rng):
        return Negative("word " * rng.choice([4, 8, 9, 10]), "x")

    rows = make_negatives(examples, {"x": mostly_longer})
    longer = sum(word_count(r["rejected"]) > 6 for r in rows) / len(rows)
    assert 0.5 <= longer < 0.6  # three quarters without the toss; a tenth finds no short one in eight draws


def taken(rows: list[Example], n: int) -> list[Example]:
    return random.Random(0).sample(rows, n)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["scitldr", "docstrings"])
def test_length_and_words_give_nothing_away_on_real_text(data, request):
    if data == "scitldr":
        path = request.getfixturevalue("shared_data") / "scitldr" / "train.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()
        examples = [example_from_row(json.loads(line), where=f"{path}:{i}") for i, line in enumerate(lines, 1)]
    else:
        examples = load("builtin/docstrings").train
    examples = taken(examples, 1500)
    rows = make_negatives(examples, corruptions(CORRUPTIONS, Corpus(examples)))
    found = audit(rows)
    everything = found.classes[-1]
    assert everything.n == 1500
    assert everything.length <= FINE
    assert 0.45 < everything.longer < 0.55
    assert (found.duplicates, found.same_as_chosen, found.empty) == (0, 0, 0)
    for c in found.classes:
        if c.name in ("irrelevant", "near_miss", "spliced", "swapped", "action") and c.n >= 50:
            assert c.words < 0.65, c  # content classes: the prompt must be read
            assert c.form < 0.65, c
            assert c.length < 0.65, c
    assert found.verdict().endswith("fine.")
