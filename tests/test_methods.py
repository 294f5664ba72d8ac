"""Recipes as methods: names, the baseline, which stage has the budget, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homestretch.config.methods import load_methods, parse_budget
from homestretch.config.recipe import load_recipe
from homestretch.config.shipped import shipped
from homestretch.errors import RecipeError

SFT = {"sft": {"max_steps": 3}}
BUDGET = {"tokens": 500}


def recipe(*stages: Any, **shared: Any) -> dict[str, Any]:
    return {"stages": list(stages), **shared}


def limits(recipes: dict[str, Any], *overrides: str, budget: dict[str, int] = BUDGET) -> dict[str, list[str]]:
    """Stages of every method with what they may spend."""
    methods, _ = load_methods(recipes, overrides, budget)
    return {
        m.name: [f"{s.name} {getattr(s.config, 'train_until', {}) or ''}".strip() for s in m.recipe.stages]
        for m in methods
    }


def test_the_last_stage_that_trains_has_the_budget_and_the_common_start_is_the_baseline() -> None:
    made = limits({"dpo": recipe(SFT, "negatives", "dpo", "evaluate", "report"), "again": recipe(SFT, "sft-2")})
    assert made == {
        "ml": ["sft", "evaluate"],
        "dpo": ["sft", "negatives", "dpo {'tokens': 500}", "evaluate"],
        "again": ["sft", "sft-2 {'tokens': 500}", "evaluate"],
    }
    methods, evaluation = load_methods({"a": recipe(SFT, "sft-2"), "b": recipe(SFT, "ift-2")}, [], BUDGET)
    assert [(m.name, m.limited, m.baseline) for m in methods] == [
        ("ml", None, True), ("a", "sft-2", False), ("b", "ift-2", False)
    ]  # fmt: skip
    assert not evaluation.sampled and not evaluation.baseline
    assert methods[1].of_seed(7).seed == 7 and methods[1].recipe.seed == 0


def test_a_start_whose_outputs_a_reward_model_judges_keeps_what_makes_it() -> None:
    judged = [SFT, "negatives", "reward"]
    recipes = {"dpo": recipe(*judged, "dpo"), "ppo": recipe(*judged, "ppo")}
    assert limits(recipes)["ml"] == ["sft", "evaluate"]
    made = limits(recipes, "evaluate.rewards={model: 1.0}")
    assert made["ml"] == ["sft", "negatives", "reward", "evaluate"]
    assert made["dpo"][-2:] == ["dpo {'tokens': 500}", "evaluate"]


def test_what_takes_no_steps_has_no_budget() -> None:
    best_of = {"best_of": {"num_samples": 2, "rewards": {"concise": 1.0}}}
    made = limits({"dpo": recipe(SFT, "negatives", "dpo"), "best": recipe(SFT, best_of)})
    assert made["best"] == ["sft", "best_of", "evaluate"] and made["dpo"][2] == "dpo {'tokens': 500}"


def test_a_recipe_that_is_the_common_start_is_the_baseline_itself() -> None:
    recipes = {"dpo": recipe(SFT, "negatives", "dpo"), "plain": recipe(SFT), "ift": recipe("ift")}
    made = limits(recipes)
    assert list(made) == ["plain", "dpo", "ift"]
    assert made["plain"] == ["sft", "evaluate"], "others build on it, so it keeps its own length"
    assert made["ift"] == ["ift {'tokens': 500}", "evaluate"]
    methods, _ = load_methods(recipes, [], BUDGET)
    assert [m.baseline for m in methods] == [True, False, False]


def test_other_settings_of_the_start_are_no_common_start() -> None:
    made = limits({"a": recipe(SFT, "sft-2"), "b": recipe({"sft": {"max_steps": 4}}, "sft-2")})
    assert list(made) == ["a", "b"]


def test_without_a_budget_each_recipe_keeps_its_length() -> None:
    made = limits({"a": recipe(SFT, "sft-2"), "b": recipe("ift")}, budget={})
    assert made == {"a": ["sft", "sft-2", "evaluate"], "b": ["ift", "evaluate"]}


def test_settings_go_where_they_belong() -> None:
    recipes = {"a": recipe(SFT, "negatives", "dpo"), "b": load_recipe(recipe("ift"))}
    overrides = ["dataset.max_train=9", "dpo.beta=0.3", "evaluate.metric_for_verdict=chrf", "evaluate.sampled=true"]
    methods, evaluation = load_methods(recipes, overrides, {})
    assert [m.recipe.dataset.max_train for m in methods] == [9, 9]
    assert methods[0].recipe.find("dpo").beta == 0.3
    assert evaluation.metric_for_verdict == "chrf" and evaluation.sampled
    assert methods[1].recipe.find("evaluate") == evaluation


@pytest.mark.parametrize(
    ("recipes", "overrides", "says"),
    [
        ({"a": recipe("sft")}, [], "needs two recipes at least"),
        ({"a": recipe("sft"), "ml": recipe("ift")}, [], "rename the recipe"),
        ({"a": recipe("sft"), "b": recipe("ift", model_name_or_path="x")}, [], r"`model_name_or_path` \('built"),
        ({"a": recipe("sft"), "b": recipe("ift", dataset={"max_test": 3})}, [], "`a` and `b` differ in `dataset`,"),
        ({"a": recipe("sft"), "b": recipe("negatives")}, [], "`b` trains no model"),
        ({"a": recipe("sft"), "b": recipe("ift")}, ["ppo.kl_coef=1"], "the recipe has no stage `ppo`"),
        ({"a": recipe("sft"), "b": recipe("ift")}, ["seed=1"], "are those of `--seeds`"),
        ({"a": recipe("sft"), "b": recipe("ift")}, ["evaluate.sampeld=true"], "did you mean `sampled`"),
        ({"a": recipe("sft"), "b": recipe("ift")}, ["evaluate.baseline=true"], "is a method of its own; leave it out"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(recipes: dict[str, Any], overrides: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_methods(recipes, overrides, {})


def test_the_dataset_may_differ_until_an_override_makes_it_one() -> None:
    recipes = {"a": recipe("sft"), "b": recipe("ift", dataset={"max_test": 3})}
    assert len(load_methods(recipes, ["dataset.max_test=5"], {})[0]) == 2


def test_files_are_called_by_their_stems_or_by_their_folders_too(tmp_path: Path) -> None:
    files = [tmp_path / "x" / "same.yaml", tmp_path / "y" / "same.yaml", tmp_path / "y" / "other.yaml"]
    for file, stage in zip(files, ("sft", "ift", "sft"), strict=True):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"stages: [{stage}]\n")
    assert [m.name for m in load_methods(files[1:], [], {})[0]] == ["same", "other"]
    assert [m.name for m in load_methods(files[:2], [], {})[0]] == ["x-same", "y-same"]
    with pytest.raises(RecipeError, match="Two recipes are called `x-same`"):
        load_methods([files[0], files[0]], [], {})


def test_the_recipes_of_the_built_in_task_can_be_compared() -> None:
    names = [name for name in shipped() if name.endswith("/docstrings")]
    assert len(names) >= 5
    methods, _ = load_methods(names, [], {"tokens": 100_000})
    assert [m.name for m in methods] == ["ml", *(name.replace("/", "-") for name in names)]


def test_budgets_are_read() -> None:
    assert parse_budget(None) == {}
    assert parse_budget("tokens=200_000") == {"tokens": 200_000}
    for text, says in {
        "token=5": "did you mean `tokens`",
        "tokens": "`tokens` has no number; write `tokens=200000`",
        " seconds = ": "`seconds` has no number; write `seconds=200000`",
        "hours=3": "known are `samples`, `seconds`, `tokens`",
        "seconds=0": "'0' is no whole number above 0",
        "tokens=1.5": "no whole number",
    }.items():
        with pytest.raises(RecipeError, match=says):
            parse_budget(text)
