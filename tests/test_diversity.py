"""distinct-n and repetition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.metrics.diversity import distinct_n, repeated_share


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
