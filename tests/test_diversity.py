"""distinct-n and repetition."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.evaluate import evaluate_rows
from homestretch.metrics.diversity import distinct_column, distinct_n, repeated_share


def test_by_hand():
    assert distinct_n(["你好你好"]) == pytest.approx(2 / 3)  # 你好, 好你, 你好
    # bigrams: a b, b c | a b -> 2 distinct of 3
    assert distinct_n(["a b c", "A b"]) == pytest.approx(2 / 3)
    assert distinct_n(["a b c", "A b"], 1) == pytest.approx(3 / 5)
    assert distinct_n(["a", ""]) == 0
    # ab ab ab: abab, baba, abab -> 2 distinct of 3
    assert repeated_share("a b a b a b".split()) == pytest.approx(1 / 3)
    assert repeated_share("a b c".split()) == 0


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=6).map(" ".join), min_size=1, max_size=5))
def test_equals_the_definition_on_the_pooled_bigrams(texts):
    pooled = [pair for t in texts for pair in zip(t.split(), t.split()[1:], strict=False)]
    assert distinct_n(texts) == pytest.approx(len(set(pooled)) / len(pooled))


def bigrams(texts):
    return [pair for t in texts for pair in zip(t.split(), t.split()[1:], strict=False)]


@pytest.mark.parametrize("seed", range(20))
def test_several_outputs_of_a_prompt_are_counted_within_their_sets(seed):
    rng = random.Random(seed)
    outputs = [
        [" ".join(rng.choices("abc", k=rng.randint(2, 5))) for _ in range(rng.randint(1, 4))]
        for _ in range(rng.randint(1, 4))
    ]
    rows = [(i, text) for i, its in enumerate(outputs) for text in its]
    column = distinct_column([text for _, text in rows], prompts=[i for i, _ in rows])
    wanted = []
    for its in outputs:
        for k, text in enumerate(its):
            there = bigrams([other[min(k, len(other) - 1)] for other in outputs])
            wanted.append([sum(1 / there.count(g) for g in bigrams([text])), len(text.split()) - 1])
    assert column.rows_NK.tolist() == [pytest.approx(row) for row in wanted]


def test_sets_by_hand():
    """Two prompts of two seeds: {a b c, a b} has 2 of 3, {a b c, b a} has 3 of 3."""
    rows = [
        {"id": i, "arm": arm, "prompt": i, "references": [], "source": "", "text": text}
        for arm, seeds in {"varied": [("a b c", "a b"), ("a b c", "b a")], "same": [("a b c", "a b")] * 2}.items()
        for texts in seeds
        for i, text in zip("pq", texts, strict=True)
    ]
    found = evaluate_rows(rows, metrics=["distinct2"]).arms
    assert {arm: measured.metrics["distinct2"].value for arm, measured in found.items()} == pytest.approx(
        {"varied": 5 / 6, "same": 2 / 3}
    )
    apart = [row | {"id": f"{row['id']}{k}"} for k, row in enumerate(rows)]
    assert evaluate_rows(apart, metrics=["distinct2"]).arms == found, "whatever the ids"
