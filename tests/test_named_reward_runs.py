"""Named rewards in whole runs: a user's function and a classifier for stored text, for samples and in PPO; errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from offline_runs import SFT, SMALL, log, recipe, texts_asked
from test_sequence_classifier import save

from homestretch.cli.main import run_command
from homestretch.config.recipe import dump
from homestretch.errors import InputError
from homestretch.rewards.sequence_classifier import SequenceClassifier
from homestretch.training import checkpoint
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages.value import ADVANTAGES

FUNCTION = "def brevity(prompts, completions, references, **columns):\n"
FUNCTION += "    return [1 / (1 + sum(map(ord, p)) % 9) for p in prompts]\n"


def function(folder: Path, text: str = FUNCTION) -> str:
    (folder / "mine.py").write_text(text)
    return f"{folder / 'mine.py'}:brevity"


@pytest.mark.slow
def test_stored_text_is_scored_once_by_a_classifier_and_by_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = texts_asked(monkeypatch, SequenceClassifier)
    polite = {"classifier": save(tmp_path / "bert", max_position_embeddings=256), "label": "polite", "sigmoid": True}
    rewards = {"brevity": {"function": function(tmp_path), "weight": 0.5}, "polite": polite}
    stages = [{"wbc": {**SMALL, "rewards": rewards}}, {"gold": {**SMALL, "rewards": {"polite": polite}}}]
    run = run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")
    assert 0 < sum(asked) <= 48, "the second stage asks for nothing, and equal texts are one"
    rows = [json.loads(x) for x in (run.path / "stages" / "01-wbc" / "rewards.jsonl").read_text().splitlines()]
    assert len(rows) == 48
    for row in rows:
        assert row["rewards"]["brevity"] == pytest.approx(0.5 / (1 + sum(map(ord, row["prompt"])) % 9))
        assert row["reward"] == pytest.approx(sum(row["rewards"].values())) and 0 < row["rewards"]["polite"] < 1
    drawn = [r["reward"] for r in log(run, "01-wbc") if "reward" in r]
    assert min(r["reward"] for r in rows) <= min(drawn) and max(drawn) <= max(r["reward"] for r in rows)
    function(tmp_path, FUNCTION.replace("(1 +", "(2 +"))
    run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")
    again = [json.loads(x) for x in (run.path / "stages" / "01-wbc" / "rewards.jsonl").read_text().splitlines()]
    assert again[0]["rewards"]["brevity"] < rows[0]["rewards"]["brevity"], "the function has changed"


@pytest.mark.slow
def test_the_value_of_samples_under_a_function_needs_no_reward_model(tmp_path: Path) -> None:
    terms = {"brevity": {"function": function(tmp_path)}, "overlap": 0.5}
    value = {"num_train_epochs": 1, "train_batch_size": 4, "bf16": False, "r_max": 1.5, "rewards": terms}
    run = run_recipe(recipe(tmp_path, "llama", [SFT, {"value": value}, {"alol": SMALL}]), tmp_path / "run")
    found = checkpoint.load(run.path / "stages" / "02-value" / ADVANTAGES)[0]
    rows = [json.loads(x) for x in (run.path / "stages" / "02-value" / "rewards.jsonl").read_text().splitlines()]
    assert found["reward"].tolist() == pytest.approx([row["reward"] for row in rows])
    assert all(row["rewards"]["overlap"] == 0.5 for row in rows), "each is its own reference"
    targets = checkpoint.load(run.path / "stages" / "02-value" / "targets")[0]["reward"]
    assert float(targets.min()) > 0 and float(targets.max()) < 0.6, "samples of an untrained model have no overlap"


@pytest.mark.slow
def test_a_function_and_a_classifier_join_the_score_in_ppo(tmp_path: Path) -> None:
    polite = {"classifier": save(tmp_path / "bert", max_position_embeddings=256), "label": 2, "weight": 0.25}
    ppo = {**SMALL, "max_steps": 2, "rollout_batch_size": 4, "num_generations": 2, "train_batch_size": 4}
    ppo["rewards"] = {"brevity": {"function": function(tmp_path)}, "polite": polite}
    small = {"max_steps": 2, "train_batch_size": 8, "lora_r": 4, "bf16": False}
    run = run_recipe(recipe(tmp_path, "llama", [SFT, "negatives", {"reward": small}, {"ppo": ppo}]), tmp_path / "run")
    rows = [row for row in log(run, "04-ppo") if "objective/brevity" in row]
    assert len(rows) == 2 and all(0 < row["objective/brevity"] <= 1 and row["objective/polite"] for row in rows)


@pytest.mark.slow
def test_another_runs_reward_model_is_learnt_from_and_looked_at(tmp_path: Path) -> None:
    small = {"max_steps": 2, "train_batch_size": 8, "lora_r": 4, "bf16": False}
    first = run_recipe(recipe(tmp_path, "llama", ["negatives", {"reward": small}]), tmp_path / "first")
    strong = {"reward_model": str(first.path / "stages" / "02-reward" / "model")}
    ppo = {**SMALL, "max_steps": 2, "rollout_batch_size": 4, "num_generations": 2, "train_batch_size": 4}
    ppo |= {"rewards": {"strong": strong}, "golden": {"same": {**strong, "weight": 2}}}
    run = run_recipe(recipe(tmp_path, "llama", [SFT, {"ppo": ppo}]), tmp_path / "run")
    rows = [row for row in log(run, "02-ppo") if "objective/strong" in row]
    assert len(rows) == 2 and "objective/scores" not in rows[0]
    assert [row["objective/golden/same"] for row in rows] == pytest.approx(
        [2 * row["objective/strong"] for row in rows]
    )


def test_a_reward_model_that_is_not_there_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    wbc = {"wbc": {**SMALL, "rewards": {"strong": {"reward_model": str(tmp_path / "none")}}}}
    with pytest.raises(InputError, match=r"none is not a reward model"):
        run_recipe(recipe(tmp_path, "llama", [SFT, wbc]), tmp_path / "run")
    assert not (tmp_path / "run" / "stages").exists()


def test_a_function_that_fails_ends_the_run_with_one_sentence_and_nothing_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = function(tmp_path, "def brevity(completions, **_):\n    return [1 / 0]\n")
    made = recipe(tmp_path, "llama", [{"wbc": {**SMALL, "rewards": {"brevity": {"function": broken}}}}])
    (tmp_path / "recipe.yaml").write_text(dump(made))
    assert run_command(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert "The reward `brevity` raised ZeroDivisionError" in " ".join(capsys.readouterr().err.split())
    left = {path.name for path in (tmp_path / "run" / "stages" / "01-wbc").rglob("*")}
    assert left == {"stage.json"}
