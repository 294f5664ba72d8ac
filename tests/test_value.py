"""V of prompts and the advantages from it: definitions, what is constant, and the stage in whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offline_runs import SFT, SMALL, Killed, recipe
from reference import value as reference
from test_wbc import rewarded
from toy import trunk_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.value import ValueFit, advantage, value_loss
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.policies.modes import evaluating
from homestretch.policies.policy import Policy
from homestretch.rewards.model import DESCRIPTION, HEAD
from homestretch.training import checkpoint
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages import value as value_stage
from homestretch.training.stages.value import ADVANTAGES, SUMMARY, split

NUMBER = st.floats(-10, 10)


@given(rows=st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=5))
def test_equal_the_definition_row_by_row(rows: list[tuple[float, float]]) -> None:
    value_B, reward_B = torch.tensor(rows, dtype=torch.float64).T
    assert value_loss(value_B, reward_B).tolist() == pytest.approx([reference.loss(v, r) for v, r in rows])
    assert advantage(reward_B, value_B).tolist() == pytest.approx([reference.advantage(r, v) for v, r in rows])


def test_rewards_and_advantages_are_constants() -> None:
    value_B, reward_B = torch.rand(3, requires_grad=True), torch.rand(3, requires_grad=True)
    assert not advantage(reward_B, value_B).requires_grad
    value_loss(value_B, reward_B).sum().backward()
    assert reward_B.grad is None and value_B.grad is not None
    torch.testing.assert_close(value_B.grad, 2 * (value_B - reward_B).detach())


def test_gradcheck() -> None:
    value_B = torch.tensor([0.2, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: value_loss(v, torch.tensor([0.5, 0.4], dtype=torch.float64)), (value_B,))


def test_the_loss_is_the_mean_over_prompts_and_leaves_the_reference_alone() -> None:
    trunk, batch = trunk_of(heads=("prompt_value",)), rewarded()
    models = Models(policy=Policy(trunk, None, budget=1000))
    with evaluating(trunk):
        terms = ValueFit().loss(models, batch)
        value_B = models.policy.score(batch, want={"prompt_value"}).prompt_value_B
    torch.testing.assert_close(terms.terms, (value_B - batch.reward_B).square())
    assert terms.average == "sequence" and terms.mask.tolist() == [1.0] * 3
    terms.terms.sum().backward()
    assert all(p.grad is None for name, p in trunk.named_parameters() if not name.startswith("heads."))


def rows(count: int, *, copies: int = 1) -> list[TokenizedExample]:
    return [TokenizedExample(i, [i // copies, 7], [], 1, reward=0.5) for i in range(count)]


def test_held_out_prompts_are_disjoint_and_seeded() -> None:
    learned, held = split(rows(20, copies=2), 0.2, seed=3)
    prompts = [{tuple(row.prompt_ids) for row in part} for part in (learned, held)]
    assert len(held) == 4 and len(learned) == 16 and not prompts[0] & prompts[1]
    assert split(rows(20, copies=2), 0.2, seed=3) == (learned, held)
    assert split(rows(20, copies=2), 0.2, seed=4)[1] != held
    assert [len(part) for part in split(rows(2), 0.9, seed=0)] == [1, 1]
    with pytest.raises(DataError, match="two validation prompts at least, not 1"):
        split(rows(3, copies=3), 0.2, seed=0)


FIT = {"num_train_epochs": 4, "train_batch_size": 4, "bf16": False, "responses": "stored"}


def reward(row: dict[str, Any], i: int) -> float:
    return 1.0 if row["prompt"].startswith("a") else 0.25 * (i % 3)


def advantages(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / ADVANTAGES)[0]


def killed_in_the_fourth_call(inner: Callable[..., float]) -> Callable[..., float]:
    calls = []

    def measured(*arguments: Any) -> float:
        calls.append(arguments)
        if len(calls) == 4:
            raise Killed
        return inner(*arguments)

    return measured


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_stage_caches_advantages_and_goes_on_where_it_was_killed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(tmp_path, name, [{"value": FIT}], reward=reward)
    run = run_recipe(made, tmp_path / "whole")
    whole = advantages(run.path / "stages" / "01-value")
    torch.testing.assert_close(whole["adv"], whole["reward"] - whole["value"])
    assert len(whole["adv"]) == 48, "of 60 rows a tenth each is for validation and test"
    best = checkpoint.load(run.path / "stages" / "01-value" / "best")[0]
    assert best and all(key.startswith("heads.prompt_value.") for key in best), "the reference is frozen"
    summary = json.loads((run.path / "stages" / "01-value" / SUMMARY).read_text())
    assert summary["rows"] == len(whole["adv"])
    assert summary["kept_fraction"] == pytest.approx(float((whole["adv"] > 0).float().mean()))
    assert summary["mse"] <= summary["mse_of_constant"] + 1e-3
    with monkeypatch.context() as patch:
        patch.setattr(value_stage, "error", killed_in_the_fourth_call(value_stage.error))
        with pytest.raises(Killed):
            run_recipe(made, tmp_path / "killed")
    assert list((tmp_path / "killed" / "stages" / "01-value" / "checkpoints").iterdir())
    again = run_recipe(made, tmp_path / "killed")
    resumed = advantages(again.path / "stages" / "01-value")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_the_reward_model_scores_what_the_current_model_samples(tmp_path: Path) -> None:
    small = {"max_steps": 2, "train_batch_size": 8, "lora_r": 4, "bf16": False}
    value = {**FIT, "responses": "sampled", "num_generations": 2}
    stages = [SFT, "negatives", {"reward": small}, {"value": value}, {"alol": SMALL}]
    run = run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")
    folder = run.path / "stages" / "04-value"
    targets = checkpoint.load(folder / "targets")[0]["reward"]
    assert len(targets) == 2 * 6, "two samples for each validation prompt"
    assert ((targets > 0) & (targets < 1)).all() and (advantages(folder)["reward"] > 0).all()
    assert run.model.is_dir()


@pytest.mark.parametrize(
    ("settings", "function", "says"),
    [
        (
            FIT,
            lambda row, i: float(i % 6),
            r"^Rewards run from 0 to 5, and V can only be between 0 and 1: set value\.r_max=5",
        ),
        (
            FIT,
            lambda row, i: i % 3 - 1.0,
            r"^Rewards run from -1 to 1, .*: shift them to start at 0, or .*sigmoid=tr",
        ),
        (FIT, lambda row, i: 0.5, r"^All \d+ rewards are 0\.5"),
    ],
)
def test_rewards_that_the_head_cannot_express_are_refused(
    tmp_path: Path, settings: dict[str, Any], function: Any, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        run_recipe(recipe(tmp_path, "llama", [{"value": settings}], reward=function), tmp_path / "run")


def test_a_larger_range_is_a_setting(tmp_path: Path) -> None:
    made = recipe(tmp_path, "llama", [{"value": {**FIT, "r_max": 5}}], reward=lambda row, i: float(i % 6))
    found = advantages(run_recipe(made, tmp_path / "run").path / "stages" / "01-value")
    assert found["reward"].max() == 5 and found["value"].max() > 1


def test_rewards_of_two_origins_are_not_mixed(tmp_path: Path) -> None:
    stages = [{"value": {**FIT, "responses": "sampled"}}]
    place = tmp_path / "somewhere"
    made = recipe(tmp_path, "llama", stages, {"reward_model_name_or_path": str(place)}, reward=reward)
    with pytest.raises(InputError, match=r"somewhere is not a reward model \(no reward.json\); make one with"):
        run_recipe(made, tmp_path / "run")
    place.mkdir()
    for name in (DESCRIPTION, HEAD):
        (place / name).write_text("{}")
    with pytest.raises(RecipeError, match=r"set value\.responses=stored, or name the reward of both in value\.rewards"):
        run_recipe(made, tmp_path / "run")
