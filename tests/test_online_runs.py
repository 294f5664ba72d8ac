"""Stages `ppo`, `rloo` and `grpo` in whole runs: exact resume, with a reward model and with rewards by rule alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from offline_runs import SFT, SMALL, log, recipe, same_after_being_killed

from homestretch.training.pipeline import run_recipe

pytestmark = pytest.mark.slow

METHODS = ["ppo", "rloo", "grpo"]
ROUNDS = {**SMALL, "rollout_batch_size": 8, "train_batch_size": 4, "num_generations": 4, "learning_rate": 3e-3}
OVERLAP = {"rewards": {"overlap": 10.0}}


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


def test_ppo_learns_from_rules_alone(tmp_path: Path) -> None:
    run = run_recipe(recipe(tmp_path, "llama", [{"ppo": {**ROUNDS, **OVERLAP}}]), tmp_path / "run")
    rows = [r for r in log(run, "01-ppo") if "reward" in r]
    assert len(rows) == 4 and "objective/scores" not in rows[0] and "val/explained_variance" in rows[0]


def test_weighted_rewards_are_divided_by_their_spread_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**ROUNDS, "rewards": {"overlap": 0.5, "concise": 0.5}, "standardise": True, "length_penalty": "none"}
    run = same_after_being_killed(recipe(tmp_path, "llama", [{"ppo": settings}]), tmp_path, "01-ppo")
    said = capsys.readouterr().err
    assert said.count("ppo: `concise` is divided by ") == 3 and "ppo: `overlap` is divided by" in said
    rows = [r for r in log(run, "01-ppo") if "reward" in r]
    assert len(rows) == 4 and (run.path / "stages" / "01-ppo" / "scales").is_dir()
