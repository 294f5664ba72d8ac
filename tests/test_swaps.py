"""The permutation test of corpus metrics against all swaps of the two arms' outputs."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from homestretch.evaluate import evaluate_rows
from homestretch.metrics.bleu import bleu_from_sums, bleu_statistics
from homestretch.metrics.diversity import distinct_column

GOOD = "the old bridge over the river is closed today"
POOR = "the bridge on a river"


def arms(first: list[list[str]], second: list[list[str]]) -> list[dict]:
    """Rows of `rl_raw` and `ml_raw`, several outputs a prompt."""
    return [
        {"id": str(i), "arm": arm, "prompt": f"p{i}", "references": [GOOD], "source": "", "text": text, "tokens": 5}
        for arm, texts in (("rl_raw", first), ("ml_raw", second))
        for i, its in enumerate(texts)
        for text in its
    ]


def exact_means(outputs: list[list[str]]) -> list[list[Fraction]]:
    """The ten counts of each prompt, averaged over its outputs."""
    each = [bleu_statistics(texts, [[GOOD]] * len(texts)).astype(int) for texts in outputs]
    return [[Fraction(int(total), len(rows)) for total in rows.sum(0)] for rows in each]


def by_all_swaps(first: list[list[Fraction]], second: list[list[Fraction]]) -> float:
    """Share of swaps whose corpora differ as much, of exact sums."""

    def bleu(rows: list[list[Fraction]]) -> float:
        return float(bleu_from_sums(np.array([float(sum(column)) for column in zip(*rows, strict=True)])))

    differences = []
    for keep in product((True, False), repeat=len(first)):
        sides = [(a, b) if stays else (b, a) for stays, a, b in zip(keep, first, second, strict=True)]
        differences.append(abs(bleu([a for a, _ in sides]) - bleu([b for _, b in sides])))
    return float(np.mean([d >= differences[0] - 1e-9 for d in differences]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([[GOOD]] * 3, [[POOR]] * 3),
        ([["the old bridge"], *[[POOR]] * 4], [[POOR], ["the old bridge over"], *[[POOR]] * 3]),
        ([["the old bridge"], *[[POOR]] * 6], [[POOR], ["the old bridge over"], *[[POOR]] * 5]),
        ([[GOOD, POOR, POOR], [POOR], [GOOD]], [[POOR], [POOR, "a river"], [POOR]]),
    ],
)
def test_bleu_where_one_arm_has_all_matches_of_an_order(first, second):
    (ours,) = [c for c in evaluate_rows(arms(first, second), metrics=["bleu"]).comparisons if c.metric == "bleu"]
    assert ours.p_value == pytest.approx(by_all_swaps(exact_means(first), exact_means(second)))


def test_distinct_2_where_one_arm_has_no_bigram():
    texts = [["one two three"], ["two three four"], ["four two three"]]
    rows = arms(texts, [["one"]] * 3)
    (ours,) = [c for c in evaluate_rows(rows, metrics=["distinct2"]).comparisons if c.metric == "distinct2"]
    share, count = distinct_column([text for (text,) in texts]).rows_NK.T
    found = []
    for keep in product((1, 0), repeat=3):
        a, b = np.array(keep), 1 - np.array(keep)
        found.append(abs((a @ share) / max(a @ count, 1) - (b @ share) / max(b @ count, 1)))
    assert ours.p_value == np.mean([d >= found[0] - 1e-9 for d in found])
