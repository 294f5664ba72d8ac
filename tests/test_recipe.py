"""Recipes: strict, checked before anything heavy is imported, and equal to what `dump` writes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from homestretch.config.base import Config
from homestretch.config.ppo import PPOConfig
from homestretch.config.recipe import Recipe, Stage, dump, load_recipe
from homestretch.config.sft import SFTConfig
from homestretch.config.stages import NEEDS, STAGES, TRAINS_POLICY
from homestretch.errors import RecipeError

REQUIRED = {
    "soup": {"models": {"a": 0.5, "b": 0.5}},
    "best_of": {"num_samples": 2, "rewards": {"concise": 1.0}},
    "distill": {"teacher_name_or_path": "somewhere"},
}
"""Settings that nobody can guess, by stage."""

FULL = """\
model_name_or_path: builtin/smollm2-135m
dataset:
  name: builtin/docstrings
  max_train: 100
stages:
  - sft: {learning_rate: 1e-4}
  - negatives
  - reward:
  - ppo:
      kl_coef: 0.1
      kl: off
  - evaluate
  - report: {}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, list(overrides))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_recipe_from_a_file(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, FULL))
    assert [stage.name for stage in recipe.stages] == ["sft", "negatives", "reward", "ppo", "evaluate", "report"]
    assert recipe.stages[0].config == SFTConfig(learning_rate=1e-4)
    ppo = recipe.find("ppo")
    assert isinstance(ppo, PPOConfig)
    assert (ppo.kl_coef, ppo.kl) == (0.1, "off")
    assert recipe.dataset.max_train == 100
    assert recipe.find("dpo") is None


def test_values_and_python_objects_make_the_same_recipe(tmp_path: Path) -> None:
    values = {"stages": ["sft", {"evaluate": {"la_rouge": "b"}}], "seed": 3}
    recipe = load_recipe(values)
    assert recipe == Recipe(**values)
    assert recipe == Recipe(stages=[Stage(name="sft", config=SFTConfig()), recipe.stages[1]], seed=3)


def test_the_dump_is_resolved_and_read_back_equal(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, FULL), ["seed=7"])
    text = dump(recipe)
    assert load_recipe(written(tmp_path, text)) == recipe
    assert "cliprange: 0.2" in text
    assert "on_bad_row: error" in text
    assert dump(load_recipe(written(tmp_path, text))) == text


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("kl_coef", "kl_cof", 10, "unknown key `kl_cof`; did you mean `kl_coef`?"),
        ("max_train", "max_trian", 4, "unknown key `dataset.max_trian`; did you mean `max_train`?"),
        ("dataset", "datset", 2, "unknown key `datset`; did you mean `dataset`?"),
        ("- negatives", "- negative", 7, "unknown stage `negative`; did you mean `negatives`?"),
        ("0.1", "-0.1", 10, "`kl_coef` = -0.1 cannot be used"),
        ("0.1", "much", 10, "`kl_coef` = 'much' cannot be used"),
        ("kl: off", "kl: of", 11, "'off', 'fixed' or 'adaptive'"),
        ("kl: off", "num_generations: 7", 9, "must be a multiple of num_generations 7"),
        ("kl: off", "kl_coef: 3", 11, "was given before, on line 10"),
        ("- reward:", "- reward: 3", 8, "`reward` has 3 where settings belong"),
        ("  - report: {}", "  - report: {}\n    ppo: {}", 13, "put each stage behind its own dash"),
        ("  - reward:\n", "", 8, "the stage `ppo` needs `reward` before it"),
        ("  - negatives\n", "", 7, "the stage `reward` needs `negatives` before it"),
        ("  - sft: {learning_rate: 1e-4}", "  - evaluate", 6, "the stage `evaluate` needs `sft` or `"),
        ("- evaluate", "- sft", 12, "the stage `sft` stands twice; call the second one `sft-2`"),
        ("100", "0", 4, "`dataset.max_train` = 0 cannot be used"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    path = written(tmp_path, FULL.replace(old, new, 1))
    message = refused(path)
    assert message.startswith(f"{path}:{line}: ")
    assert says in message


@pytest.mark.parametrize("text", ["", "- sft\n", "just text\n", "seed: 3\n", "stages: []\n", "stages: sft\n"])
def test_a_recipe_needs_stages(tmp_path: Path, text: str) -> None:
    assert "stages" in refused(written(tmp_path, text))


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    recipe = load_recipe(
        path,
        ["ppo.kl_coef=1e-3", "seed=3", "dataset.columns.prompt=article", "dataset.name=a b.jsonl", "negatives.seed=5",
         "ppo.lora_target_modules=[q_proj, v_proj]", "seed=4", "report={max_samples: 5}"],
    )  # fmt: skip
    ppo = recipe.find("ppo")
    assert isinstance(ppo, PPOConfig)
    assert (ppo.kl_coef, ppo.kl, ppo.lora_target_modules) == (1e-3, "off", ["q_proj", "v_proj"])
    assert (recipe.seed, recipe.dataset.name, recipe.dataset.max_train) == (4, "a b.jsonl", 100)
    assert recipe.dataset.columns == {"prompt": "article"}
    assert recipe.stages[1].config.model_dump()["seed"] == 5
    assert load_recipe(path) == load_recipe(written(tmp_path, FULL), [])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("ppo.kl_cof=1", "unknown key `kl_cof`; did you mean `kl_coef`?"),
        ("pppo.kl_coef=1", "unknown key `pppo`; did you mean `ppo`?"),
        ("kl_coef=1", "`kl_coef` belongs to a stage; write `ppo.kl_coef=...`"),
        ("sede=1", "unknown key `sede`; did you mean `seed`?"),
        ("seed", "is not `key=value`"),
        ("=3", "is not `key=value`"),
        ("seed=x", "`seed` = 'x' cannot be used"),
        ("seed=[", "the value is not valid YAML"),
        ("dataset.max_train=-1", "`dataset.max_train` = -1 cannot be used"),
        ("dataset.nam=x", "unknown key `dataset.nam`; did you mean `name`?"),
        ("dataset.name.x=1", "`x` cannot be set inside a value without keys"),
        ("ppo.kl_coef=.nan", "`kl_coef` = '.nan' cannot be used"),
        ("ppo=3", "`ppo` has 3 where settings belong"),
        ("ppo-2.kl=off", "unknown key `ppo-2`"),
    ],
)
def test_wrong_overrides_are_named(tmp_path: Path, override: str, says: str) -> None:
    message = refused(written(tmp_path, FULL), override)
    assert message.startswith(f"override `{override.partition('=')[0] or '='}`: ")
    assert says in message


def test_an_override_for_an_absent_stage_says_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"the recipe has no stage `ppo`; it has `sft`\."):
        load_recipe({"stages": ["sft"]}, ["ppo.kl_coef=1"])


def test_an_override_does_not_reach_through_an_anchor(tmp_path: Path) -> None:
    text = "stages:\n  - sft: &same {seed: 1}\n".replace("{seed: 1}", "{lora_r: 4}") + "  - sft-2: *same\n"
    recipe = load_recipe(written(tmp_path, text), ["sft.lora_r=8"])
    assert [stage.config.model_dump()["lora_r"] for stage in recipe.stages] == [8, 4]


def test_a_stage_may_stand_twice_under_another_name() -> None:
    recipe = load_recipe({"stages": ["sft", "negatives", "reward", "ppo", {"ppo-hot": {"temperature": 2}}]})
    assert [(stage.name, stage.kind) for stage in recipe.stages[3:]] == [("ppo", "ppo"), ("ppo-hot", "ppo")]
    assert load_recipe({"stages": ["sft", "sft-2"]}, ["sft-2.lora_r=3"]).find("sft") == SFTConfig(lora_r=3)


def test_settings_may_do_without_a_stage_that_others_need() -> None:
    assert load_recipe({"stages": ["sft", {"alol": {"variant": "r_lol"}}]})
    assert load_recipe({"stages": ["sft", {"value": {"responses": "stored"}}, "alol"]})
    with pytest.raises(RecipeError, match="the stage `alol` needs `value` before it"):
        load_recipe({"stages": ["sft", "alol"]})
    with pytest.raises(RecipeError, match="the stage `value` needs `reward` before it; add the stage, or set"):
        load_recipe({"stages": ["sft", "value"]})


def test_what_is_known_of_one_model_is_not_used_for_the_next() -> None:
    stages = ["sft", {"value": {"responses": "stored"}}, "alol", "alol-2"]
    with pytest.raises(RecipeError, match="the stage `alol-2` needs `value` before it"):
        load_recipe({"stages": stages})
    assert load_recipe({"stages": [*stages[:3], {"value-2": {"responses": "stored"}}, "alol-2"]})


def test_adapters_of_a_head_on_a_frozen_model_are_refused() -> None:
    with pytest.raises(RecipeError, match="`lora_r` has no effect here"):
        load_recipe({"stages": ["sft", {"value": {"responses": "stored", "lora_r": 4}}]})


def test_a_reward_model_from_outside_stands_for_the_stage() -> None:
    assert load_recipe({"stages": ["ppo"], "reward_model_name_or_path": "runs/a/reward"})
    assert load_recipe({"stages": ["ppo"]}, ["reward_model_name_or_path=runs/a/reward"])
    with pytest.raises(RecipeError, match="reward_model_name_or_path"):
        load_recipe({"stages": ["ppo"]})
    with pytest.raises(ValidationError, match="needs `reward` before it"):
        Recipe(stages=["ppo"])


@given(st.permutations(sorted(STAGES)))
def test_an_order_is_accepted_if_and_only_if_every_need_stands_before(names: list[str]) -> None:
    fine = all(kind not in NEEDS or set(NEEDS[kind]) & set(names[:place]) for place, kind in enumerate(names))
    between = names[names.index("value") + 1 : names.index("alol")]
    fine = fine and not set(between) & set(TRAINS_POLICY)
    try:
        load_recipe({"stages": [{name: REQUIRED.get(name)} for name in names]})
    except RecipeError:
        assert not fine
    else:
        assert fine


@pytest.mark.parametrize("kind", sorted(STAGES))
def test_every_field_is_documented_and_defaults_survive_the_round_trip(kind: str, tmp_path: Path) -> None:
    config = STAGES[kind]
    assert all(field.description for field in config.model_fields.values())
    chain = [[], *itertools.accumulate([[n] for n in ("sft", "negatives", "reward", "value", "evaluate")])]
    for before in chain:
        names = [*(n for n in before if n != kind), {kind: REQUIRED.get(kind)}]
        try:
            recipe = load_recipe({"stages": names})
        except RecipeError:
            continue
        again = load_recipe(written(tmp_path, dump(recipe)))
        assert again.stages[-1].config == config(**REQUIRED.get(kind, {}))
        return
    pytest.fail(f"no chain of stages lets `{kind}` stand")


@pytest.mark.parametrize("method", ["ppo", "rloo", "grpo"])
@pytest.mark.parametrize(
    ("given", "rounds"),
    [
        ({}, 20),
        ({"num_train_epochs": 3}, 9),
        ({"num_train_epochs": 0.5}, 2),
        ({"num_train_epochs": 3, "max_steps": 5}, 5),
        ({"max_steps": 5}, 5),
        ({"max_steps": None}, 3),
    ],
)
def test_passes_over_the_prompts_count_where_no_rounds_are_given(
    method: str, given: dict[str, float | None], rounds: int, tmp_path: Path
) -> None:
    """A pass over 20 prompts of 4 samples is 3 rounds of 32."""
    sizes = {"rewards": {"overlap": 1.0}, "num_generations": 4, "rollout_batch_size": 32}
    recipe = load_recipe({"stages": [{method: {**sizes, **given}}]})
    assert recipe.stages[0].config.rounds_of(20) == rounds
    again = load_recipe(written(tmp_path, dump(recipe)))
    assert again == recipe and again.stages[0].config.rounds_of(20) == rounds
    assert ("max_steps: null" in dump(recipe)) == (recipe.stages[0].config.max_steps is None)
    overridden = load_recipe({"stages": [{method: sizes}]}, [f"{method}.{k}={v or 'null'}" for k, v in given.items()])
    assert overridden == recipe


def test_settings_are_frozen() -> None:
    recipe = load_recipe({"stages": ["sft"]})
    with pytest.raises(ValidationError):
        recipe.seed = 3


def test_a_key_of_a_union_is_named_without_its_members() -> None:
    class Choice(Config):
        modules: str | list[str] = "all"

    with pytest.raises(RecipeError, match=r"^here: `modules` = 3 cannot be used"):
        Choice.parse({"modules": 3}, where="here")


def test_recipes_are_read_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, homestretch.config.recipe as r; r.load_recipe(sys.argv[1]); "
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(written(tmp_path, FULL))], check=True)
