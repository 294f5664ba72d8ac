"""What several objectives ask of stored text is asked once: a function once a sweep, a model once at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from offline_runs import SFT, SMALL, recipe, texts_asked
from test_modpo_stage import made, rejected

import homestretch
from homestretch.config.recipe import dump
from homestretch.rewards.model import RewardModel
from homestretch.training.pipeline import run_recipe


@pytest.mark.slow
def test_a_function_is_asked_of_stored_text_once_a_sweep(tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    (tmp_path / "mine.py").write_text(
        "def wordy(completions, rejected, **_):\n"
        f"    with open({str(asked)!r}, 'a') as file:\n"
        "        file.writelines('x\\n' for text, worse in zip(completions, rejected) if text == worse)\n"
        "    return [len(text) for text in completions]\n"
    )
    wordy = {"wordy": {"function": f"{tmp_path}/mine.py:wordy", "weight": 0.5}}
    quick = {**SMALL, "max_steps": 1, "weight": 0.5, "rewards": wordy}
    files = []
    for kind in ("modpo", "dpo"):
        files.append(tmp_path / f"{kind}.yaml")
        files[-1].write_text(dump(recipe(tmp_path, "llama", [SFT, {kind: quick}], rejected=rejected)))
    settings = ["evaluate.metrics=[la_rougeL, kl]", "evaluate.sampled=false", "evaluate.score_kl=false"]
    homestretch.front(files, out=tmp_path / "out", weights=[0.2, 0.8], overrides=settings)
    assert len(asked.read_text().splitlines()) == 48 + 2, (
        "the worse response of each pair that is trained on or held out"
    )


@pytest.mark.slow
def test_a_reward_model_of_another_run_is_asked_about_a_text_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"max_steps": 2, "train_batch_size": 8, "lora_r": 4, "bf16": False}
    first = run_recipe(recipe(tmp_path, "llama", ["negatives", {"reward": small}]), tmp_path / "first")
    asked = texts_asked(monkeypatch, RewardModel)
    strong = {"reward_model": str(first.path / "stages" / "02-reward" / "model"), "weight": 0.5}
    settings = {"weight": 0.5, "rewards": {"strong": strong}, "max_steps": 1}
    runs = [run_recipe(made(tmp_path, settings), tmp_path / name) for name in ("run", "again")]
    assert sum(asked) == 2 * (48 + 2), "both sides of 48 pairs and of two that are held out"
    found = [(run.path / "stages/01-modpo/objectives/tensors.safetensors").read_bytes() for run in runs]
    assert found[0] == found[1]
