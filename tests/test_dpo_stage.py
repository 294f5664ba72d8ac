"""Stage `dpo` in whole runs: the data's pairs or the run's negatives, a frozen reference, exact resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import SFT, SMALL, log, recipe, same_after_being_killed
from toy import pair

from homestretch.errors import DataError
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages.pairs import paired


def rejected(row: dict[str, Any], i: int) -> str:
    return row["completion"][::-1] + " no" * (i % 3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "use_peft"), [("llama", True), ("t5", True), ("gpt2", False), ("t5", False)])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, name: str, use_peft: bool) -> None:
    settings = {**SMALL, "use_peft": use_peft, "learning_rate": 3e-3}
    run = same_after_being_killed(recipe(tmp_path, name, [{"dpo": settings}], rejected=rejected), tmp_path, "01-dpo")
    rows = [r for r in log(run, "01-dpo") if "margin" in r]
    assert len(rows) == 4
    assert rows[0]["margin"] == pytest.approx(0, abs=1e-4), "before the first update policy and reference agree"
    assert rows[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert rows[-1]["margin"] > 0.01
    held_out = [r["eval/loss"] for r in log(run, "01-dpo") if "eval/loss" in r]
    assert held_out[0] == pytest.approx(0.693147, abs=1e-4) and len(held_out) == 3
    assert held_out[-1] != pytest.approx(held_out[0], abs=1e-4), "pairs of the validation split change with the policy"


@pytest.mark.slow
def test_the_negatives_of_the_run_are_the_worse_responses(tmp_path: Path) -> None:
    stages = [SFT, "negatives", {"dpo": {**SMALL, "max_steps": None, "eval_steps": 100, "failure_modes": ["random"]}}]
    run = run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")
    negatives = (run.path / "stages" / "02-negatives" / "negatives.jsonl").read_text().splitlines()
    count = sum(json.loads(line)["failure_mode"] == "random" for line in negatives)
    assert 0 < count < len(negatives)
    assert len([r for r in log(run, "03-dpo") if "loss" in r]) == -(-count // 6), "none that is held out"
    held_out = (run.path / "stages" / "02-negatives" / "validation.jsonl").read_text().splitlines()
    prompts = {json.loads(line)["prompt"] for line in negatives}
    assert held_out and all(json.loads(line)["prompt"] not in prompts for line in held_out)
    assert len([r for r in log(run, "03-dpo") if "eval/loss" in r]) == 2
    stages[-1] = {"dpo": {**SMALL, "failure_modes": ["randon"]}}
    with pytest.raises(DataError, match=r"No pair has one of dpo\.failure_modes \['randon'\]; there are .*random"):
        run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "other")


@pytest.mark.slow
def test_several_objectives_weigh_the_losses_of_their_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def steps(name: str, **settings: Any) -> list[dict[str, Any]]:
        made = recipe(tmp_path, "llama", [{"dpo": {**SMALL, "learning_rate": 3e-3, **settings}}], rejected=longer)
        return [r for r in log(run_recipe(made, tmp_path / name), "01-dpo") if "margin" in r]

    def longer(row: dict[str, Any], i: int) -> str:
        return row["completion"][::-1] + " no" * (i % 3 + 1)

    plain = steps("plain")
    capsys.readouterr()
    both = steps("both", weight=0.5, rewards={"concise": 0.5})
    assert [r["loss"] for r in both] == pytest.approx([r["loss"] for r in plain], abs=1e-5), "the orders agree"
    said = capsys.readouterr().err
    assert "dpo: `concise` prefers the worse response of 0% of the pairs." in said and "is divided by" not in said
    wordy = {"wordy": {"function": f"{tmp_path}/mine.py:wordy", "weight": 1.0}}
    (tmp_path / "mine.py").write_text(
        "def wordy(prompts, completions, **_):\n    return [len(c) for c in completions]\n"
    )
    assert steps("turned", weight=0.0, rewards=wordy)[-1]["margin"] < 0 < plain[-1]["margin"]


def test_the_reference_follows_its_pair() -> None:
    rows = [pair(i) for i in range(5)]
    numbers = torch.arange(5.0)
    constant = {"logp_ref_chosen_B": -numbers, "logp_ref_rejected_B": -10 * numbers}
    batch = paired(rows, constant, [3, 1])
    assert batch.logp_ref_chosen_B.tolist() == [-3, -1] and batch.logp_ref_rejected_B.tolist() == [-30, -10]
    assert batch.chosen.index_B.tolist() == [3, 1]
