"""The pipeline on tiny models: whole runs, exact resume after SIGKILL, nothing done twice, nothing that blocks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from safetensors.torch import load_file

from homestretch.config.features import FeaturesConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.recipe import Stage, load_recipe
from homestretch.data.sources import load
from homestretch.errors import InputError
from homestretch.results import Results, StageFolder, StageRecord
from homestretch.rewards.features import net_of, save_features
from homestretch.training import checkpoint
from homestretch.training.pipeline import fingerprint, outside, run_recipe

pytestmark = pytest.mark.slow

WORDS = ["cat", "dog", "sun", "sky", "red", "big", "old", "new", "box", "cup", "hat", "pen"]


def pairs(count: int, *, start: int = 0) -> list[dict[str, str]]:
    """Copy the second of four words: a task that a tiny model can learn."""
    rows = []
    for i in range(start, start + count):
        chosen = [WORDS[(i * k + i // 5 + k) % len(WORDS)] for k in (1, 5, 7, 11)]
        rows.append(
            {"prompt": f"{i % 7}".replace("0", "a") + " ".join(chosen) + ":", "completion": f"{chosen[1]} {chosen[2]}."}
        )
    seen, unique = set(), []
    for row in rows:
        if row["prompt"] not in seen:
            seen.add(row["prompt"])
            unique.append(row)
    return unique


def write_data(folder: Path) -> str:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs(160)))
    return str(file)


def recipe(folder: Path, name: str, stages: list, **shared):
    return load_recipe(
        {
            "model_name_or_path": shared.pop("model", None) or tiny.save(folder / f"model-{name}", name),
            "dataset": {"name": write_data(folder), "max_completion_length": 16},
            "stages": stages,
            **shared,
        }
    )


SFT = {"sft": {"max_steps": 6, "train_batch_size": 8, "eval_examples": 4, "eval_steps": 2, "lora_r": 4, "bf16": False}}
REWARD = {"reward": {"max_steps": 6, "train_batch_size": 8, "lora_r": 4, "bf16": False}}
PPO = {
    "ppo": {
        "max_steps": 4,
        "rollout_batch_size": 8,
        "train_batch_size": 4,
        "num_generations": 2,
        "value_warmup_steps": 1,
        "eval_examples": 4,
        "eval_steps": 2,
        "lora_r": 4,
        "bf16": False,
    }
}
WHOLE = [SFT, {"negatives": {}}, REWARD, PPO, {"evaluate": {"max_examples": 6}}, {"report": {}}]


def validated(stage: StageFolder) -> list[int]:
    """Rounds of a stage after which it was validated."""
    rows = [json.loads(line) for line in stage.metrics.read_text().splitlines()] if stage.metrics.is_file() else []
    return [row["step"] for row in rows if any(key.startswith("eval/") for key in row)]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_whole_run_leaves_everything(tmp_path, name):
    run = run_recipe(recipe(tmp_path, name, WHOLE), tmp_path / "run")
    results = json.loads(run.results.read_text())
    assert {"ml_raw", "ml_post", "rl_raw", "rl_post", "ml_raw@t1", "rl_raw@t1"} <= set(results["arms"])
    assert results["stages"] == {"ml": "sft", "rl": "ppo"}
    assert results["reward_model"] and results["comparisons"] and results["timings"]
    assert run.report.stat().st_size > 10_000
    assert load_recipe(run.recipe) == recipe(tmp_path, name, WHOLE, model=str(tmp_path / f"model-{name}"))
    assert (run.model / "adapter" / "adapter_model.safetensors").is_file()
    assert {f.path.name: validated(f) for f in run.stage_folders()[:4]} == {
        "01-sft": [2, 4, 6],
        "02-negatives": [],
        "03-reward": [2, 4, 6],
        "04-ppo": [0, 2, 4],  # it may end with the model that it began with
    }
    rows = [json.loads(line) for line in run.stage_folders()[2].metrics.read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    held_out = [row["eval/loss"] for row in rows if "eval/loss" in row]
    assert len(held_out) == 3 and all(min(losses) / 2 < loss < 2 * max(losses) for loss in held_out), "the same measure"
    rewards = [json.loads(line) for line in run.stage_folders()[3].metrics.read_text().splitlines()]
    assert [row["step"] for row in rewards if "eval/reward" in row] == [0, 2, 4]
    assert "in order: `sft`, `negatives`, `reward`, `ppo`. Seed 0;" in (run.model / "README.md").read_text()


def test_full_fine_tuning_runs_through_every_stage(tmp_path):
    stages = [
        {n: {**s, **({"use_peft": False} if n in ("sft", "reward", "ppo") else {})} for n, s in stage.items()}
        for stage in WHOLE
    ]
    run = run_recipe(recipe(tmp_path, "gpt2", stages), tmp_path / "run")
    assert not (run.model / "adapter").exists()
    assert json.loads(run.results.read_text())["arms"]["rl_raw"]


def test_a_finished_stage_is_not_run_again_and_a_changed_one_is(tmp_path):
    first = recipe(tmp_path, "llama", [SFT, {"evaluate": {"max_examples": 4}}])
    run = run_recipe(first, tmp_path / "run")
    weights = run.path / "stages" / "01-sft" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    longer = recipe(tmp_path, "llama", [SFT, {"evaluate": {"max_examples": 6}}], model=first.model_name_or_path)
    run_recipe(longer, tmp_path / "run")
    assert weights.stat().st_mtime_ns == before
    assert json.loads(run.results.read_text())["arms"]["ml_raw"]["metrics"]["rougeL"]["n"] == 6


def test_a_look_at_results_in_between_changes_nothing_behind_it(tmp_path):
    longer = {"sft-2": {**SFT["sft"], "max_steps": 3}}
    stages = [SFT, {"evaluate": {"max_examples": 2}}, longer, {"evaluate-2": {"max_examples": 2}}]
    first = recipe(tmp_path, "llama", stages)
    run = run_recipe(first, tmp_path / "run")
    [kept] = [s for s in Results.read(run.results).selection if s.stage == "sft-2"]
    assert kept.step == checkpoint.read_state(run.stage(3, "sft-2").path / "best")["round"]
    assert Results.read(run.results).stages == {"ml": "sft", "rl": "sft-2"}
    before = (run.stage(3, "sft-2").model / "model.safetensors").stat().st_mtime_ns
    for place in (1, 3):
        stages[place] = {next(iter(stages[place])): {"max_examples": 3}}
        run_recipe(recipe(tmp_path, "llama", stages, model=first.model_name_or_path), tmp_path / "run")
    assert (run.stage(3, "sft-2").model / "model.safetensors").stat().st_mtime_ns == before
    assert Results.read(run.results).arms["rl_raw"].metrics["rougeL"].n == 3


def test_what_a_text_is_about_is_an_input(tmp_path):
    first = recipe(tmp_path, "llama", [SFT])
    splits = [load(first.dataset.name)]
    data = Path(first.dataset.name)
    rows = [json.loads(line) | {"document": "Another."} for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert fingerprint(first, splits[0]) != fingerprint(first, load(first.dataset.name))


def test_another_number_in_a_column_is_another_input(tmp_path):
    first = recipe(tmp_path, "llama", [SFT])
    run = run_recipe(first, tmp_path / "run")
    weights = run.path / "stages" / "01-sft" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    data = Path(first.dataset.name)
    data.write_text("".join(json.dumps(json.loads(x) | {"reward": 1}) + "\n" for x in data.read_text().splitlines()))
    run_recipe(first, tmp_path / "run")
    assert weights.stat().st_mtime_ns != before


def test_other_weights_in_the_same_folder_are_another_input(tmp_path):
    first = recipe(tmp_path, "llama", [SFT])
    run = run_recipe(first, tmp_path / "run")
    before = StageRecord.read(run.stage(1, "sft").record).inputs
    tiny.save(tmp_path / "model-llama", "llama", seed=7)
    run_recipe(first, tmp_path / "run")
    assert StageRecord.read(run.stage(1, "sft").record).inputs != before


@pytest.mark.parametrize("names", ["rewards", "golden"])
def test_what_a_reward_is_made_of_is_an_input(tmp_path, names):
    code, folder = tmp_path / "mine.py", tmp_path / "classifier"
    folder.mkdir()
    code.write_text("def mine(completions, **_):\n    return [1.0 for _ in completions]\n")
    (folder / "config.json").write_text("{}")
    place = f"{code}:mine"
    features = FeaturesConfig(features={"mine": {"function": place, "low": 0, "high": 1}})
    save_features(features, net_of(features), tmp_path / "features")
    sources = ({"function": place}, {"classifier": str(folder)}, {"features": str(tmp_path / "features")})
    stages = [Stage(name="ppo", config=PPOConfig(**{names: {"one": source}})) for source in sources]
    before = [outside(stage, 0) for stage in stages]
    code.write_text(code.read_text().replace("1.0", "2.0"))
    (folder / "config.json").write_text('{"a": 1}')
    after = [outside(stage, 0) for stage in stages]
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert after == [outside(stage, 0) for stage in stages]


def test_the_folder_of_another_run_is_refused(tmp_path):
    first = recipe(tmp_path, "llama", [SFT])
    run_recipe(first, tmp_path / "run")
    other = recipe(tmp_path, "llama", [SFT], model=first.model_name_or_path, seed=1)
    with pytest.raises(InputError, match="another recipe"):
        run_recipe(other, tmp_path / "run")


def test_a_run_that_failed_before_its_first_stage_does_not_claim_the_folder(tmp_path):
    first = recipe(tmp_path, "llama", [SFT])
    data = first.model_copy(update={"dataset": first.dataset.model_copy(update={"name": str(tmp_path / "none.jsonl")})})
    with pytest.raises(InputError, match=r"none\.jsonl"):
        run_recipe(data, tmp_path / "run")
    assert run_recipe(first, tmp_path / "run").model.is_dir()


def test_a_run_killed_while_it_wrote_its_recipe_does_not_block_its_folder(tmp_path):
    made = recipe(tmp_path, "llama", [SFT])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml.123.part").write_text("model_name")
    run = run_recipe(made, tmp_path / "run")
    assert run.model.is_dir() and not list(run.path.rglob("*.part"))


def test_a_stage_without_a_record_is_not_gone_on_from(tmp_path):
    """A process that was deleting the stage of another recipe may have been killed on the way."""
    first = recipe(tmp_path, "llama", [SFT])
    old = run_recipe(first, tmp_path / "old").stage(1, "sft").path
    sft = {"sft": {**SFT["sft"], "learning_rate": 1e-2}}
    other = recipe(tmp_path, "llama", [sft], model=first.model_name_or_path)
    fresh = run_recipe(other, tmp_path / "fresh")
    (old / "stage.json").unlink()
    shutil.copytree(old, tmp_path / "run" / "stages" / "01-sft")
    (tmp_path / "run" / "recipe.yaml").write_text(fresh.recipe.read_text())
    again = run_recipe(other, tmp_path / "run")
    ours, theirs = (load_file(run.model / "model.safetensors") for run in (fresh, again))
    assert all((ours[k] == theirs[k]).all() for k in ours)


SCRIPT = """
import sys
from homestretch.config.features import FeaturesConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.recipe import Stage, load_recipe
from homestretch.training.pipeline import run_recipe
run_recipe(load_recipe(sys.argv[1]), sys.argv[2])
"""


def start(recipe_file: Path, out: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recipe_file), str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("lookahead_k", [None, 2])
def test_killed_and_started_again_gives_the_same_bits(tmp_path, lookahead_k):
    from homestretch.config.recipe import dump

    ppo = {"ppo": {**PPO["ppo"], "lookahead_k": lookahead_k, "kl": "adaptive"}}
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(recipe(tmp_path, "llama", [SFT, {"negatives": {}}, REWARD, ppo])))
    whole = start(file, tmp_path / "whole")
    assert whole.wait(240) == 0
    watched = [("01-sft", 2), ("03-reward", 3), ("04-ppo", 2)]
    for stage, rounds in watched:
        process = start(file, tmp_path / "killed")
        metrics = tmp_path / "killed" / "stages" / stage / "metrics.jsonl"
        deadline = time.time() + 120
        while time.time() < deadline and process.poll() is None:
            if metrics.exists() and len(metrics.read_text().splitlines()) > rounds:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start(file, tmp_path / "killed")
    assert last.wait(240) == 0
    for stage in ("01-sft", "03-reward", "04-ppo"):
        for weights in sorted((tmp_path / "whole" / "stages" / stage / "model").rglob("*.safetensors")):
            twin = tmp_path / "killed" / weights.relative_to(tmp_path / "whole")
            ours, theirs = load_file(weights), load_file(twin)
            assert ours.keys() == theirs.keys()
            assert all((ours[k] == theirs[k]).all() for k in ours), f"{weights.name} of {stage} differs"
