"""The audit finds what is wrong with rows that are wrong on purpose."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from homestretch.errors import InputError
from homestretch.negatives.audit import FEWEST, audit
from homestretch.negatives.readers import _length_scores


def row(i, chosen, rejected, **more):
    return {"prompt": f"Prompt {i}.", "chosen": chosen, "rejected": rejected, "failure_mode": "x", "id": str(i), **more}


def words_of(n, rng):
    return " ".join(rng.choices("red green blue old new far near".split(), k=n))


def rows_of(chosen_length, rejected_length, n=200):
    rng = random.Random(0)
    return [row(i, words_of(chosen_length(rng), rng), words_of(rejected_length(rng), rng)) for i in range(n)]


def test_longer_answers_are_found_and_named():
    found = audit(rows_of(lambda r: r.randint(5, 9), lambda r: r.randint(10, 14)))
    assert found.classes[-1].length > 0.99
    assert found.classes[-1].longer == 1
    assert "AUROC 1.00, above 0.6" in found.verdict()
    assert "balance `x`, where 100%" in found.verdict()


def test_both_extremes_are_found():
    found = audit(rows_of(lambda r: r.randint(8, 12), lambda r: r.choice([3, 4, 17, 18])))
    assert 0.4 < found.classes[-1].longer < 0.6
    assert found.classes[-1].length > 0.99


def test_equal_lengths_tell_nothing():
    found = audit(rows_of(lambda r: r.randint(5, 9), lambda r: r.randint(5, 9), n=1000))
    assert abs(found.classes[-1].length - 0.5) < 0.05
    assert found.verdict() == f"Length alone reaches AUROC {found.classes[-1].length:.2f}: fine."


def test_length_is_the_callers():
    rows = [row(i, "one two", "onetwothreefour five") for i in range(50)]
    assert audit(rows).classes[-1].length == 0.5
    assert audit(rows, length=len).classes[-1].length == 1.0


def test_readers_see_what_they_are_for():
    rng = random.Random(0)
    same = [words_of(6, rng) for _ in range(200)]
    form = audit([row(i, f"{t.capitalize()}.", t) for i, t in enumerate(same)]).classes[-1]
    assert form.form == 1.0
    assert abs(form.overlap - 0.5) < 0.1
    words = audit([row(i, t, f"{t[:-4]} wrong") for i, t in enumerate(same)]).classes[-1]
    assert words.words == 1.0
    copied = [{**row(i, t, words_of(6, rng).upper()), "prompt": f"{i} {t}"} for i, t in enumerate(same)]
    overlap = audit([{**r, "rejected": " ".join(r["rejected"][::-1].split())} for r in copied]).classes[-1]
    assert overlap.overlap == 1.0


@pytest.mark.parametrize(("chosen", "rejected"), [("{}\n", "{}"), (" {}", "{}"), ("{}\n{}", "{} {}")])
def test_white_space_that_tells_is_seen(chosen, rejected):
    rng = random.Random(0)
    texts = [(words_of(3, rng), words_of(3, rng)) for _ in range(200)]
    rows = [row(i, chosen.format(*t), rejected.format(*t)) for i, t in enumerate(texts)]
    assert audit(rows).classes[-1].form == 1.0


def test_faulty_rows_are_counted():
    rows = [row(0, "a b", "c d"), row(0, "a b", "c d"), row(1, "a b", "a  b"), row(2, "a b", " ")]
    found = audit(rows)
    assert (found.duplicates, found.same_as_chosen, found.empty) == (1, 1, 1)
    assert found.verdict().startswith(
        "There are 1 rows that repeat another, 1 rows whose rejected answer is the chosen one"
    )
    assert audit([row(1, "a b", "a b", rejected_terminated=False)]).same_as_chosen == 0


def test_table():
    rows = [row(i, "a b", "c d e", failure_mode="long", rejected_terminated=i % 2 == 0) for i in range(4)]
    rows += [
        {
            "prompt": [{"role": "user", "content": "x"}],
            "chosen": "a",
            "rejected": [{"role": "assistant", "content": "b c"}],
        }
    ]
    table = audit(rows).rows()
    assert [r["failure mode"] for r in table] == ["long", "unnamed", "all"]
    assert table[0] == {
        "failure mode": "long", "rows": "4", "chosen length": "2.0", "rejected length": "3.0", "longer": "100%",
        "ended": "50%", "length": "-", "form": "-", "words": "-", "overlap": "-",
    }  # fmt: skip
    assert f"make at least {FEWEST}" in audit(rows).verdict()
    assert "too few rows" in audit([]).verdict()


def test_length_scores_against_the_definition():
    lengths, rejected = np.array([3.0, 3.0, 4.0, 9.0]), np.array([1.0, 0.0, 1.0, 1.0])
    train, test = np.array([True, True, True, False]), np.array([False, False, False, True])
    lengths[3] = 4.0
    weight = math.exp(-0.5 * (math.log(5 / 4) / 0.05) ** 2)  # of each 3 as seen from 4
    expected = (0.5 + 1.0 + weight) / (1.0 + 1.0 + 2 * weight)
    assert _length_scores(lengths, rejected, train, test) == pytest.approx([expected])
    lengths[3] = 500.0
    assert _length_scores(lengths, rejected, train, test) == pytest.approx([0.5])


def test_whether_a_rejected_answer_ended_is_true_or_false_or_not_said():
    rows = [{"prompt": "p", "chosen": "c", "rejected": "r"} for _ in range(4)]
    said = [{**row, "rejected_terminated": ended} for row, ended in zip(rows, (True, False, None), strict=False)]
    assert audit([*said, rows[3]]).classes[-1].terminated == 3 / 4
    with pytest.raises(InputError, match="`rejected_terminated` = 'false' is not true or false; correct the rows"):
        audit([{**rows[0], "rejected_terminated": "false"}])
