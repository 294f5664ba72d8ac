"""Fronts: who is beaten in everything, and the volume that a set of points covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homestretch.config.evaluate import EvaluateConfig
from homestretch.errors import RecipeError
from homestretch.evaluate import front_rows
from homestretch.metrics.front import covered, hypervolume, nondominated
from homestretch.verbs.compare import front_of

STAIRS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
POINTS = st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=6)


def test_by_hand() -> None:
    """Boxes above (0, 0): 3 + 2 + 1 unit squares in the stairs."""
    assert hypervolume(STAIRS, np.zeros(2)) == 6
    assert hypervolume(STAIRS[:1], np.zeros(2)) == 3
    assert hypervolume(STAIRS, np.array([1.0, 1.0])) == 1, "points on the edge of the reference add nothing"
    assert hypervolume(STAIRS, np.array([1.5, 1.5])) == 0.25, "points below it in one objective add nothing"
    assert hypervolume(STAIRS, np.array([4.0, 0.0])) == 0
    assert hypervolume(np.array([[2.0, 2.0, 2.0], [3.0, 1.0, 1.0]]), np.zeros(3)) == 9
    assert nondominated(np.array([[1, 3], [2, 2], [2, 1], [2, 2]])).tolist() == [True, True, False, True]


@given(points=POINTS)
@settings(max_examples=60)
def test_volume_is_the_number_of_unit_cubes_below_a_point(points: list[tuple[int, int, int]]) -> None:
    cubes = {
        (x, y, z)
        for x in range(5)
        for y in range(5)
        for z in range(5)
        if any(x < a and y < b and z < c for a, b, c in points)
    }
    assert hypervolume(np.array(points, dtype=float), np.zeros(3)) == pytest.approx(len(cubes))


@given(points=POINTS)
def test_a_point_is_off_the_front_when_another_is_nowhere_worse_and_somewhere_better(
    points: list[tuple[int, int, int]],
) -> None:
    beaten = [any(all(b >= a for a, b in zip(p, q, strict=True)) and p != q for q in points) for p in points]
    assert nondominated(np.array(points)).tolist() == [not lost for lost in beaten]


def test_the_reference_is_the_worst_of_each_objective_and_draws_give_the_interval() -> None:
    draws = STAIRS + np.linspace(-0.1, 0.1, 201)[:, None, None]
    made = covered(STAIRS, draws)
    assert made.reference == [1.0, 1.0] and made.members == [True] * 3 and made.volume.value == 1
    assert made.volume.low < 1 < made.volume.high and made.groups == {} == made.differences


def test_groups_are_measured_above_the_corner_of_all() -> None:
    """Above (0, 0): 3 x 1 and 1 x 3 cover 5 unit squares, 2 x 2 covers 4."""
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [0.0, 0.0]])
    draws = points + np.linspace(-0.1, 0.1, 201)[:, None, None]
    made = covered(points, draws, {"ends": [0, 2], "middle": [1]})
    assert made.reference == [0, 0] and made.volume.value == 6
    assert {name: volume.value for name, volume in made.groups.items()} == {"ends": 5, "middle": 4}
    assert made.groups["middle"].low == pytest.approx(1.905**2)
    difference = made.differences["ends", "middle"]
    # Moved by d, the ends cover 2 (1 + d) (3 + d) - (1 + d)^2; the interval of the draws is from d = -0.095 on.
    assert difference.value == 1 and difference.low == pytest.approx(2 * 0.905 * 2.905 - 0.905**2 - 1.905**2)


def rows(arm: str, concise: list[float], failing: list[bool]) -> list[dict]:
    texts = ["a a a a" if bad else "a b c" for bad in failing]
    return [
        {
            "id": str(i),
            "arm": arm,
            "text": text,
            "references": ["a b c"],
            "source": "",
            "terminated": True,
            "tokens": 3,
            "reward": None,
            "rewards": {"concise": value},
            "kl": None,
        }
        for i, (value, text) in enumerate(zip(concise, texts, strict=True))
    ]


def test_rows_make_a_front_of_rewards_and_failures() -> None:
    made = [
        *rows("short", [-1.0, -2.0], [True, True]),
        *rows("long", [-5.0, -6.0], [False, False]),
        *rows("worst", [-5.0, -7.0], [True, True]),
    ]
    names, found = front_rows(made, ["rewards/concise", "failures/repetitive"], groups={"one": ["long"]})
    assert found.groups["one"].value == 0.5, "half a word by one whole share of failures"
    assert names == ["short", "long", "worst"] and found.members == [True, True, False]
    assert found.reference == [-6.0, -1.0], "failures count with the other sign"
    with pytest.raises(RecipeError, match="There is no front of rewards/other"):
        front_rows(made, ["rewards/other", "failures/repetitive"])
    with pytest.raises(RecipeError, match="neither direction of `length_ratio` is better"):
        front_rows(made, ["rewards/concise", "length_ratio"])


def test_what_a_mixture_adds_is_the_volume_with_it_minus_that_without() -> None:
    """The corner is (-5, 1): short and long cover nothing above it, the mixture 3 words by half of the failures."""
    made = [
        *rows("short", [-1.0, -1.0], [True, True]),
        *rows("long", [-5.0, -5.0], [False, False]),
        *rows("soup0.5", [-2.0, -2.0], [True, False]),
        *rows("soup0.9", [-4.0, -4.0], [True, True]),
    ]
    keys, soups = ["rewards/concise", "failures/repetitive"], ["soup0.5", "soup0.9"]
    found = front_of(made, keys, {}, soups, EvaluateConfig(metrics=["la_rougeL"]))
    assert {name: volume.value for name, volume in found.soups.items()} == {"soup0.5": 1.5, "soup0.9": 0}
    assert found.soups["soup0.5"].low <= 1.5 <= found.soups["soup0.5"].high and found.hypervolume.value == 1.5
    assert found.members == ["short", "long", "soup0.5"] and found.families == {} and found.differences == []
    assert front_of(made, keys, {}, [], EvaluateConfig(metrics=["la_rougeL"])).soups == {}
