"""Rewards in recipes: short and long forms, strict, each contradiction one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from homestretch.config.recipe import Recipe, dump, load_recipe
from homestretch.config.rewards import RewardTerm
from homestretch.errors import RecipeError
from homestretch.rewards.functions import FunctionReward, load_function

F = {"function": "mine.py:f"}
STORED = {"responses": "stored"}


def recipe(stage: str, rewards: dict[str, Any], **settings: Any) -> Recipe:
    return load_recipe({"stages": ["sft", "negatives", "reward", {stage: {"rewards": rewards, **settings}}]})


@pytest.mark.parametrize("stage", ["ppo", "wbc", "gold", "value"])
def test_a_number_is_a_weight_and_a_recipe_comes_back_as_it_was(stage: str) -> None:
    made = recipe(stage, {"overlap": 10, "mine": {**F, "weight": -0.5, "sigmoid": True}})
    found = made.find(stage).rewards
    assert found == {"overlap": RewardTerm(weight=10.0), "mine": RewardTerm(**F, weight=-0.5, sigmoid=True)}
    assert load_recipe(load_yaml(dump(made))) == made


def load_yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


@pytest.mark.parametrize(
    ("stage", "rewards", "says"),
    [
        ("wbc", {"overlop": 1}, r"`overlop` is no reward \(did you mean `overlap`\)"),
        ("wbc", {"mine": {}}, r"`mine` is no reward .*give it a `function`, .*, `local` or a `judge`"),
        ("wbc", {"overlap": F}, r"`overlap` is the name of a reward of ours"),
        ("ppo", {"rules": -1}, r"the weight of `rules` is negative"),
        ("wbc", {"mine": {**F, "column": "x"}}, r"`function` and `column` are two rewards"),
        ("wbc", {"mine": {"reward_model": "r", "classifier": "c"}}, r"`classifier` and `reward_model` are two rewards"),
        ("wbc", {"mine": {"function": "mine.py"}}, r"write `module:function` or `path/to/file\.py:function`"),
        ("wbc", {"mine": {**F, "label": 1}}, r"`label` and `reads` belong to a `classifier`"),
        ("wbc", {"mine": {**F, "wieght": 1}}, r"unknown key `rewards\.mine\.wieght`; did you mean `weight`"),
        ("wbc", {"mine": {**F, "weight": 0}}, r"every weight is 0"),
        ("ppo", {"model": {"weight": 1, "sigmoid": True}}, r"the reward model's score is a log-odds in the sum"),
        ("wbc", {"mine": {"column": "completions.0"}}, r"`completions` is what rewards are given beside the data's"),
        ("ppo", {"mine": {"column": "x"}}, r"`mine` is a column of the data, which says nothing about samples"),
        ("ppo", {"scores": F}, r"`scores` is the name of a logged quantity"),
        ("ppo", {"kl": F}, r"`kl` is the name of a logged quantity; call the reward by another name"),
        ("grpo", {"entropy": F}, r"`entropy` is the name of a logged quantity"),
        ("rloo", {"kl_coef": F}, r"`kl_coef` is the name of a logged quantity"),
        ("value", {"mine": {"column": "x"}}, r"the column of `mine` says nothing about sampled responses"),
    ],
)
def test_what_contradicts_itself_is_refused(stage: str, rewards: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipe(stage, rewards)


def test_the_reward_models_score_is_learnt_from_and_not_held_out() -> None:
    with pytest.raises(RecipeError, match=r"is learnt from, so it cannot be held out; remove `model`"):
        recipe("ppo", {}, golden={"model": 1})


def test_a_weight_of_the_reward_model_asks_for_one() -> None:
    assert recipe("ppo", {"model": 0.7, "concise": 0.3}).find("ppo").shares == {"model": 0.7, "concise": 0.3}
    with pytest.raises(RecipeError, match=r"the stage `ppo` needs `reward` before it"):
        load_recipe({"stages": [{"ppo": {"rewards": {"model": 0.7, "concise": 0.3}}}]})


def test_a_weight_of_zero_is_a_switch_where_other_rewards_are() -> None:
    assert recipe("ppo", {"overlap": 0}).find("ppo").rewards["overlap"].weight == 0
    assert recipe("wbc", {"overlap": 0, "mine": F})
    assert recipe("value", {"mine": {"column": "x"}}, responses="stored")


def test_advantages_have_their_rewards_from_the_stage_value() -> None:
    value = {"value": STORED}
    with pytest.raises(RecipeError, match=r"`rewards` belong to the stage `value`"):
        load_recipe({"stages": [value, {"alol": {"rewards": {"mine": F}}}]})
    load_recipe({"stages": [{"alol": {"rewards": {"mine": F}, "variant": "r_lol"}}]})


def test_a_value_under_named_rewards_needs_no_reward_model_unless_it_names_it() -> None:
    load_recipe({"stages": [{"value": {"rewards": {"mine": F}}}]})
    with pytest.raises(RecipeError, match=r"the stage `value` needs `reward` before it"):
        load_recipe({"stages": [{"value": {"rewards": {"mine": F, "model": 1}}}]})


def test_the_page_on_rewards_can_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "rewards.md").read_text(encoding="utf-8")
    recipe_text = page.partition("their weighted sum counts:\n\n")[2].partition("\n\nWithout")[0]
    found = load_recipe({**load_yaml(recipe_text), "reward_model_name_or_path": "somewhere"}).find("wbc").rewards
    assert list(found) == ["brevity", "polite", "helpful", "model", "overlap"]
    (function,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_rewards.py").write_text(function)
    monkeypatch.chdir(tmp_path)
    made = FunctionReward("brevity", load_function("brevity", found["brevity"].function))
    assert made(["p", "p"], ["abc", "abcdef"], references=[["abc"], ["abc", "x"]]) == [1.0, 0.5]
