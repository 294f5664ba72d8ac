"""Ranks and how often they would come again, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from homestretch.errors import RecipeError
from homestretch.evaluate import rank_rows
from homestretch.metrics.base import Column
from homestretch.metrics.compare import Table, rank
from homestretch.metrics.ranking import ranking
from homestretch.metrics.stats import resampled_means

NAN = float("nan")


def table(scores: list[float], prompts: str = "abcdef") -> Table:
    return Table.of(list(prompts[: len(scores)]), {"rougeL": Column.of_scores(scores)})


def test_four_samples_counted_by_hand() -> None:
    # In order of the values: b, c, a. Of four samples b leads two, ties with a in one, and c leads one.
    draws = np.array([[1.0, 3.0, 2.0], [1.0, 2.0, 1.5], [4.0, 4.0, 0.0], [0.0, 1.0, 5.0]])
    made = ranking(np.array([1.5, 2.5, 2.1]), draws)
    assert made.order == [1, 2, 0]
    assert made.p_best == [2.5 / 4, 1 / 4, 0.5 / 4]
    assert made.p_above_next == [3 / 4, 3 / 4], "b over c in all but the last, c over a in all but the third"
    assert made.p_order == 2 / 4


def test_equal_methods_share_what_there_is() -> None:
    draws = np.array([[0.3, 0.1 + 0.2, 0.0], [1.0, 1.0, 2.0]])
    made = ranking(np.array([0.7, 0.7, 0.1]), draws)
    assert made.order == [0, 1, 2], "the first stays first"
    assert made.p_best == [1 / 4, 1 / 4, 1 / 2], "0.3 and 0.1 + 0.2 are one number but for the last bit"
    assert made.p_above_next == [1 / 2, 1 / 2] and made.p_order == 1 / 4
    assert ranking(np.ones(3), np.ones((5, 3))).p_order == 1 / 2 * 1 / 2


def test_two_prompts_have_four_samples() -> None:
    """a wins by 1 on one prompt and loses by 3 on the other: of the samples {11, 12, 21, 22} b leads in three."""
    order, made = rank({"a": table([2.0, 0.0]), "b": table([1.0, 3.0])}, "rougeL", seed=0)
    assert order == ["b", "a"]
    assert made.p_best[0] == made.p_above_next[0] == pytest.approx(3 / 4, abs=0.02)
    assert sum(made.p_best) == pytest.approx(1.0)


def test_samples_are_paired_and_only_prompts_of_all_methods_count() -> None:
    noisy = [0.0, 100.0, 50.0, 7.0]
    above = [x + 1.0 for x in noisy]
    tables = {"low": table([*noisy, 1e6]), "high": table([*above, NAN]), "third": table([-1.0, 0.0, 0.0, 0.0, 1e7])}
    order, made = rank(tables, "rougeL", seed=0)
    assert order == ["high", "low", "third"]
    assert made.p_above_next[0] == 1.0, "one ahead on every prompt is one ahead in every sample"
    draws = resampled_means(np.array([noisy, [-1.0, 0.0, 0.0, 0.0]]).T, seed=0)
    assert made.p_above_next[1] == (draws[:, 0] > draws[:, 1]).mean()


def rows(arm: str, texts: list[str]) -> list[dict]:
    return [
        {"id": i, "arm": arm, "text": text, "references": ["one two three"], "source": "", "reward": None}
        | {"terminated": bool(text), "tokens": 3}
        for i, text in enumerate(texts)
    ]


def test_fewer_failures_are_better() -> None:
    both = rows("good", ["one two three", "one two"]) + rows("empty", ["", ""])
    order, made = rank_rows(both, "failures/empty")
    assert order == ["good", "empty"] and made.p_best == [1.0, 0.0]
    assert rank_rows(both, "rougeL")[0] == ["good", "empty"]


def test_a_metric_without_a_better_direction_is_refused() -> None:
    both = rows("a", ["one two three"]) + rows("b", ["one"])
    for metric, says in {"length_ratio": "neither direction", "failures/x": "failures/x", "rogue": "unknown"}.items():
        with pytest.raises(RecipeError, match=says):
            rank_rows(both, metric)
