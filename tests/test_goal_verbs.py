"""Goals from the outside: a run that trains with the contrastive term, goals of files, filters, texts given up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import tiny_tokenizers
import torch
from test_pipeline import recipe
from test_verbs import pairs, write
from typer.testing import CliRunner

from homestretch.cli.main import app
from homestretch.config.decoding import DecodingConfig
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.rewards.goal import load_goals
from homestretch.training.pipeline import run_recipe
from homestretch.verbs.generate import generate
from homestretch.verbs.goal import find_filter, make_goal, token_values
from homestretch.verbs.reward import fit_reward

pytestmark = pytest.mark.slow

SHORT = {"reward.max_steps": 2, "reward.lora_r": 2, "reward.bf16": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save(tmp_path_factory.mktemp("model"), "llama", std=0.3)


@pytest.fixture(scope="module")
def fitted(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    data = write(folder / "pairs.jsonl", pairs(60))
    settings = SHORT | {"reward.contrast.states": 4, "reward.contrast.weight": 1.0}
    return fit_reward(data, model=model, out=folder / "run", overrides=settings).path


def goals_folder(run: Path) -> Path:
    return run / "stages" / "02-reward" / "model"


def test_training_with_contrast_leaves_the_goal_of_its_references_and_logs_both_terms(fitted: Path) -> None:
    assert set(load_goals(goals_folder(fitted))) == {"success"}
    lines = (fitted / "stages" / "02-reward" / "metrics.jsonl").read_text().splitlines()
    steps = [row for row in map(json.loads, lines) if "loss" in row]
    assert len(steps) == 2
    for row in steps:
        assert row["loss"] == pytest.approx(row["loss/reward"] + row["loss/contrast"], abs=1e-5)
        assert 0.62 < row["loss/contrast"] < 1.63


def test_goals_of_files_join_those_that_are_there(fitted: Path, tmp_path: Path) -> None:
    brief = write(tmp_path / "brief.jsonl", pairs(6))
    before = load_goals(goals_folder(fitted))["success"]
    assert make_goal(fitted, brief, name="brief") == 6
    assert make_goal(fitted, brief, name="anywhere", tokens="random", seed=3) == 6
    found = load_goals(goals_folder(fitted))
    assert set(found) == {"success", "brief", "anywhere"} and torch.equal(found["success"], before)
    rows = token_values(fitted, brief, goal="brief")
    assert all(len(row["q"]) == len(row["rewards"]) == len(row["text"]) + 1 for row in rows)
    assert all(-1 <= q <= 1 for row in rows for q in row["q"])
    with pytest.raises(DataError, match=r"none\.jsonl:1: a goal is made from good responses"):
        make_goal(fitted, write(tmp_path / "none.jsonl", [{"prompt": "say it:"}]), name="none")


def samples(tmp_path: Path) -> Path:
    rows = []
    for i, row in enumerate(pairs(8)):
        for k in range(4):
            wrong = k >= 2 + i % 2
            text = " red red red red red red." if wrong else row["completion"]
            rows.append({**row, "completion": text, "answer": text.strip(), "correct": not wrong})
    return write(tmp_path / "samples.jsonl", rows)


def test_a_filter_is_chosen_on_half_of_the_prompts_and_judged_on_the_others(fitted: Path, tmp_path: Path) -> None:
    found = find_filter(fitted, samples(tmp_path), recall=1.0)
    assert found["all"]["prompts"] == found["kept"]["prompts"] == 4
    assert found["all"]["tokens_saved"] == 0 and 0 <= found["kept"]["tokens_saved"] < 1
    everything = find_filter(fitted, samples(tmp_path), recall=1.0, patience=40)
    assert everything["kept"] | {"tokens_saved": 0} == everything["all"]
    with pytest.raises(DataError, match=r"pairs\.jsonl:1.*column `correct`"):
        find_filter(fitted, write(tmp_path / "pairs.jsonl", pairs(4)))


def test_the_commands_say_what_they_found(fitted: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["reward", "filter", str(fitted), str(samples(tmp_path)), "--recall", "0.9"])
    assert run.exit_code == 0, run.output
    assert "after the filter" in run.output and "--give-up-below" in run.output
    brief = write(tmp_path / "brief.jsonl", pairs(3))
    run = CliRunner().invoke(app, ["reward", "goal", str(fitted), str(brief), "--name", "short"])
    assert run.exit_code == 0 and "goal `short`: the mean of 3 responses" in run.output


def test_texts_are_given_up_and_steered(model: str, fitted: Path, tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", pairs(3))
    how = {"max_new_tokens": 40, "temperature": 1.0, "num_samples": 2, "goal_model": str(fitted)}
    made = generate(model, prompts, give_up_below=1.0, **how)
    assert all(row["given_up"] == (row["tokens"] in (16, 32) and not row["terminated"]) for row in made)
    assert any(row["given_up"] for row in made)
    steered = generate(model, prompts, steer={"success": 5.0}, **how)
    assert [row["text"] for row in steered] != [row["text"] for row in made] and "given_up" not in steered[0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steer": {"success": 1.0}}, "`steer` reads goals: give a `goal_model`"),
        ({"goal_model": "x"}, "`goal_model` has no effect alone"),
        ({"patience": 2}, "`patience` has no effect alone"),
        ({"goal_model": "x", "give_up_below": 0.0, "num_beams": 2}, "beam search does not read goals"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        DecodingConfig.parse(settings, where="generate")


def test_a_goal_model_of_another_vocabulary_or_shape_is_refused(model: str, fitted: Path, tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", pairs(2))
    other = tiny.save(tmp_path / "other", "llama")
    tiny_tokenizers.tokenizer().save_pretrained(other)
    with pytest.raises(InputError, match="another vocabulary than the model that generates"):
        generate(other, prompts, goal_model=str(fitted), give_up_below=0.0)
    seq2seq = tiny.save(tmp_path / "t5", "t5")
    data = write(tmp_path / "pairs.jsonl", pairs(60))
    run = fit_reward(data, model=seq2seq, out=tmp_path / "run", overrides=SHORT | {"reward.contrast.states": 2})
    with pytest.raises(InputError, match="must be causal"):
        generate(model, prompts, goal_model=str(run.path), give_up_below=0.0)


def test_ppo_is_shaped_by_the_goal_and_says_so_where_there_is_none(tmp_path: Path) -> None:
    small = {"max_steps": 2, "train_batch_size": 8, "eval_examples": 4, "lora_r": 4, "bf16": False}
    ppo = small | {"rollout_batch_size": 8, "num_generations": 4, "value_warmup_steps": 0, "goal_shaping": 2.0}

    def stages(contrast: dict | None) -> list:
        return ["negatives", {"reward": small | {"contrast": contrast}}, {"ppo": ppo}]

    done = run_recipe(recipe(tmp_path, "llama", stages({"states": 4})), tmp_path / "run")
    assert (done.path / "model").is_dir()
    with pytest.raises(RecipeError, match=r"goal_shaping reads the reward model's goals.*reward\.contrast"):
        run_recipe(recipe(tmp_path, "llama", stages(None)), tmp_path / "other")


def test_ppo_refuses_a_reward_model_whose_tokens_have_other_ids(model: str, fitted: Path, tmp_path: Path) -> None:
    """Of the same tokens, so that every id can be read."""
    other = tmp_path / "other"
    shutil.copytree(model, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    ppo = {"max_steps": 1, "train_batch_size": 8, "rollout_batch_size": 8, "num_generations": 4, "lora_r": 4}
    ppo |= {"eval_examples": 4, "bf16": False, "goal_shaping": 1.0, "value_warmup_steps": 0}
    shared = {"reward_model_name_or_path": str(goals_folder(fitted))}
    with pytest.raises(RecipeError, match=r"another vocabulary than the recipe's model.*name one of the same"):
        run_recipe(recipe(tmp_path, "llama", [{"ppo": ppo}], model=str(other), **shared), tmp_path / "run")
    done = run_recipe(recipe(tmp_path, "llama", [{"ppo": ppo}], model=model, **shared), tmp_path / "same")
    assert (done.path / "model").is_dir()
