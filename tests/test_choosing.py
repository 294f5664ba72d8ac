"""The metric that chooses the checkpoint: one that is never measured, and values that are not finite."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from offline_runs import SFT as FIRST
from offline_runs import SMALL, recipe
from test_loop import CONFIG, rows_of
from toy import accelerator, plan, trunk_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import SFT
from homestretch.errors import RecipeError
from homestretch.policies.policy import Policy
from homestretch.training.loop import fit
from homestretch.training.pipeline import run_recipe


@pytest.mark.parametrize(
    ("chooser", "says"),
    [
        ("la_rougel", r"toy\.metric_for_best_model: `la_rougel` is not measured .*; did you mean `la_rougeL`\?"),
        ("golden", r"`golden` is not measured .*; known are `la_rougeL`, `nll`, `none`\."),
    ],
)
def test_a_metric_that_no_validation_has_is_told_at_the_first(tmp_path, chooser, says):
    trunk, seen = trunk_of(), []
    made = plan(
        tmp_path,
        trunk,
        CONFIG.model_copy(update={"metric_for_best_model": chooser}),
        rounds=4,
        validate=lambda number: seen.append(number) or {"la_rougeL": 1.0, "nll": 2.0},
        every=1,
    )
    with pytest.raises(RecipeError, match=says):
        fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    assert seen == [1]


def test_a_validation_that_has_no_finite_value_chooses_nothing(tmp_path):
    trunk, values = trunk_of(), {1: math.inf, 2: math.nan, 3: 5.0, 4: math.inf, 5: 4.0}
    config = CONFIG.model_copy(update={"metric_for_best_model": "golden"})
    heard = []
    made = plan(
        tmp_path,
        trunk,
        config,
        rounds=5,
        validate=lambda number: {"golden": values[number], "golden_jsd": 1.0},
        watch=lambda row: heard.append(row) or ([], False),
        every=1,
    )
    at = fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    assert (at.best_round, at.best) == (5, 4.0)
    assert [row["step"] for row in rows_of(tmp_path) if "eval/golden" in row] == [3, 5]
    assert sum("eval/golden_jsd" in row for row in heard) == 5 and sum("eval/golden" in row for row in heard) == 2


def test_what_is_said_of_a_second_stage_names_the_second_stage(tmp_path: Path) -> None:
    stages = [FIRST, {"sft-2": {**SMALL, "metric_for_best_model": "la_rougel"}}]
    with pytest.raises(RecipeError, match=r"sft-2\.metric_for_best_model: `la_rougel` is not measured"):
        run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")
