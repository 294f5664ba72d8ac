"""Stages `wbc` and `gold` in whole runs: any architecture, adapters or all weights, exact resume, rewards used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import SFT, SMALL, log, recipe, same_after_being_killed, weights

from homestretch.errors import DataError
from homestretch.training.pipeline import run_recipe

pytestmark = pytest.mark.slow


def reward(row: dict[str, Any], i: int) -> float:
    return (i % 4) / 4


@pytest.mark.parametrize(("name", "use_peft"), [("llama", True), ("t5", True), ("gpt2", False), ("t5", False)])
@pytest.mark.parametrize("method", ["wbc", "gold"])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, method: str, name: str, use_peft: bool) -> None:
    made = recipe(tmp_path, name, [{method: {**SMALL, "use_peft": use_peft, "learning_rate": 1e-3}}], reward=reward)
    run = same_after_being_killed(made, tmp_path, f"01-{method}")
    rows = log(run, f"01-{method}")
    drawn = [row["reward"] for row in rows if "reward" in row]
    assert len(drawn) == 4
    assert sum(drawn) / 4 > 0.45, "in proportion to rewards of 0, 1/4, 1/2, 3/4 the mean is 0.58, else 0.375"
    assert rows[0]["step"] == 0 and "eval/la_rougeL" in rows[0], "the start is one of the checkpoints"


def test_the_reward_model_of_the_run_scores_the_stored_text_once(tmp_path: Path) -> None:
    small = {"max_steps": 2, "train_batch_size": 8, "lora_r": 4, "bf16": False}
    stages = [SFT, "negatives", {"reward": small}, {"wbc": SMALL}, {"evaluate": {"max_examples": 2}}]
    run = run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")
    rewards = torch.tensor([row["reward"] for row in log(run, "04-wbc") if "reward" in row])
    assert ((rewards > 0) & (rewards < 1)).all()
    assert (run.path / "stages" / "04-wbc" / "rewards" / "tensors.safetensors").is_file()
    assert '"rl_raw"' in run.results.read_text() and weights(run, "04-wbc")


def test_negative_rewards_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    made = recipe(tmp_path, "llama", [{"wbc": SMALL}], reward=lambda row, i: i - 1.0)
    with pytest.raises(DataError, match=r"pairs\.jsonl:\d+: the reward -1 is negative, and `wbc` weighs"):
        run_recipe(made, tmp_path / "run")
