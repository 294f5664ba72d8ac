"""Every class of negatives keeps the same promises; a class that joins the table joins these tests."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_documents import any_examples, documents

from homestretch.config.negatives import FailureMode
from homestretch.errors import InputError, RecipeError
from homestretch.negatives import CORRUPTIONS, MINED, Corpus, Negative, Sample, corruptions, mine
from homestretch.negatives.base import differs

NAMES = [*CORRUPTIONS, MINED]
DOCUMENTS = documents()
CORPUS = Corpus(DOCUMENTS)
KEPT = mine(DOCUMENTS, {e.id: [Sample("Something else entirely.", True), Sample(e.source, False)] for e in DOCUMENTS})
MADE = corruptions(NAMES, CORPUS, kept=KEPT)


def outcomes(name: str, seed: int = 0) -> list[Negative | None]:
    return [MADE[name](e, random.Random(f"{seed} {e.id}")) for e in DOCUMENTS]


def test_table_and_settings_name_the_same_classes():
    assert set(get_args(FailureMode)) == set(NAMES)
    assert len(NAMES) == 13


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_is_described(name):
    entry = CORRUPTIONS[name]
    assert entry.factory.__doc__
    assert 5 < len(entry.description) < 60


@pytest.mark.parametrize("name", NAMES)
def test_makes_its_own_kind(name):
    made = [(e, n) for e, n in zip(DOCUMENTS, outcomes(name), strict=True) if n is not None]
    assert made, "applies to none of the made documents"
    assert all(n.failure_mode == name and differs(e, n) for e, n in made)
    assert all(n.terminated for _, n in made) or name in ("run_on", MINED)


@pytest.mark.parametrize("name", NAMES)
def test_is_a_function_of_example_and_generator(name):
    assert outcomes(name) == outcomes(name)
    assert outcomes(name, 0) != outcomes(name, 1) or name in ("roles", MINED)  # one way only


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_does_not_depend_on_the_order_of_the_corpus(name):
    shuffled = random.Random(3).sample(DOCUMENTS, len(DOCUMENTS))
    other = corruptions([name], Corpus(shuffled))[name]
    assert [other(e, random.Random(f"0 {e.id}")) for e in DOCUMENTS] == outcomes(name)


@settings(max_examples=60)
@given(any_examples(), st.integers(0, 2**32), st.none() | st.integers(1, 5))
def test_any_text(examples, seed, max_words):
    corpus = Corpus(examples, max_words=max_words)
    for corrupt in corruptions(CORRUPTIONS, corpus).values():
        for e in examples:
            negative = corrupt(e, random.Random(seed))
            if negative is not None:
                assert differs(e, negative)
                assert negative == corrupt(e, random.Random(seed))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_one_example_alone(name):
    alone = [replace(DOCUMENTS[0], references=("Return it.",))]
    negative = corruptions([name], Corpus(alone))[name](alone[0], random.Random(0))
    assert negative is None or differs(alone[0], negative)
    if name in ("irrelevant", "near_miss", "spliced", "swapped", "action"):
        assert negative is None  # there is nobody to borrow from


def test_validation_examples_are_corrupted_too():
    corpus = Corpus([e for i, e in enumerate(DOCUMENTS) if i % 5])
    for name, corrupt in corruptions(CORRUPTIONS, corpus).items():
        made = [corrupt(e, random.Random(0)) for e in DOCUMENTS[::5]]
        assert any(made) or name in ("opposite", "action"), name


def test_errors_say_what_to_do():
    with pytest.raises(InputError, match="there are none; check the data"):
        Corpus([])
    with pytest.raises(RecipeError, match="no class `near_mis`; did you mean `near_miss`"):
        corruptions(["near_mis"], CORPUS)


def test_mined_is_left_out_without_samples():
    assert list(corruptions(["copy", MINED], CORPUS)) == ["copy"]


def test_no_torch():
    code = "import sys, homestretch.negatives.mix, homestretch.negatives.audit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
