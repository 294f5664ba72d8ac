"""Stages `ppo`, `rloo` and `grpo` in whole runs: exact resume, rewards by rule alone, what a recipe must say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from offline_runs import SFT, SMALL, log, recipe, same_after_being_killed
from toy import row

from homestretch.batch import SequenceBatch
from homestretch.config.recipe import load_recipe
from homestretch.config.rloo import RLOOConfig
from homestretch.config.rollouts import GroupConfig
from homestretch.config.stages import STAGES
from homestretch.errors import RecipeError
from homestretch.training.pipeline import run_recipe
from homestretch.training.terminal_reward import terminal_reward

METHODS = ["ppo", "rloo", "grpo"]
ROUNDS = {**SMALL, "rollout_batch_size": 8, "train_batch_size": 4, "num_generations": 4, "learning_rate": 3e-3}
OVERLAP = {"rewards": {"overlap": 10.0}}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rloo", "grpo"])
@pytest.mark.parametrize(("name", "use_peft"), [("llama", True), ("t5", True), ("gpt2", False)])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, name: str, use_peft: bool, method: str) -> None:
    settings = {**ROUNDS, **OVERLAP, "use_peft": use_peft, "num_ppo_epochs": 2}
    run = same_after_being_killed(recipe(tmp_path, name, [{method: settings}]), tmp_path, f"01-{method}")
    rows = [r for r in log(run, f"01-{method}") if "reward" in r]
    assert len(rows) == 4
    assert rows[0]["objective/kl"] == pytest.approx(0, abs=1e-3), "before the first update policy and reference agree"
    assert abs(rows[-1]["objective/kl"]) > 1e-3
    assert not {"objective/scores", "val/explained_variance"} & rows[0].keys() and "objective/overlap" in rows[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_whole_run_against_the_reward_model(tmp_path: Path, method: str) -> None:
    reward = {"max_steps": 2, "train_batch_size": 4, "lora_r": 4, "bf16": False}
    stages = [
        SFT,
        "negatives",
        {"reward": reward},
        {method: {**ROUNDS, "max_steps": 2}},
        {"evaluate": {"max_examples": 4}},
    ]
    run = run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")
    rows = [r for r in log(run, f"04-{method}") if "reward" in r]
    assert len(rows) == 2 and all("objective/scores" in r for r in rows)
    assert run.results.is_file() and method in (run.model / "README.md").read_text()


@pytest.mark.slow
def test_ppo_learns_from_rules_alone(tmp_path: Path) -> None:
    run = run_recipe(recipe(tmp_path, "llama", [{"ppo": {**ROUNDS, **OVERLAP}}]), tmp_path / "run")
    rows = [r for r in log(run, "01-ppo") if "reward" in r]
    assert len(rows) == 4 and "objective/scores" not in rows[0] and "val/explained_variance" in rows[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_reward_model_is_asked_for_unless_rules_stand_for_it(method: str) -> None:
    with pytest.raises(RecipeError, match=f"the stage `{method}` needs `reward` before it"):
        load_recipe({"stages": [method]})
    with pytest.raises(RecipeError, match=f"the stage `{method}` needs `reward` before it"):
        load_recipe({"stages": [{method: {"rewards": {"overlap": 0.0}}}]})
    assert load_recipe({"stages": [{method: OVERLAP}, "evaluate"]}).find(method).rewards == {"overlap": 10.0}


def test_groups_have_two_samples_at_least_and_rounds_whole_groups() -> None:
    for method in ("rloo", "grpo"):
        assert issubclass(STAGES[method], GroupConfig)
        with pytest.raises(RecipeError, match="`num_generations` = 1 cannot be used"):
            STAGES[method].parse({"num_generations": 1}, where="here")
    with pytest.raises(RecipeError, match="rollout_batch_size 128 must be a multiple of num_generations 5"):
        RLOOConfig.parse({"num_generations": 5}, where="here")


def test_without_a_reward_model_the_length_term_and_the_missing_end_remain() -> None:
    """Twice the reference's length costs 1, a missing end 1."""
    ones = torch.ones(2, 4, dtype=torch.long)
    made = SequenceBatch(
        prompt_ids_BP=ones, prompt_mask_BP=ones, ids_BT=ones, mask_BT=ones, index_B=torch.zeros(2, dtype=torch.long),
        ref_length_B=torch.tensor([2, 4]), terminated_B=torch.tensor([True, False]),
    )  # fmt: skip
    context = SimpleNamespace()
    reward_B, parts = terminal_reward(context, None, RLOOConfig(), [row(0)])(made)
    assert reward_B.tolist() == [-1.0, -1.0]
    assert list(parts) == ["length_penalty"] and parts["length_penalty"].tolist() == [1.0, 0.0]

    judge = SimpleNamespace(score_ids=lambda batch: torch.tensor([9.0, 2.0]))
    reward_B, parts = terminal_reward(context, judge, RLOOConfig(), [row(0)])(made)
    assert reward_B.tolist() == [4.0, 1.0] and parts["scores"].tolist() == [9.0, 2.0]
