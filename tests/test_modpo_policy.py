"""A policy as an objective of `modpo`: its reward is the log-ratio to what it was trained from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from offline_runs import SMALL, recipe
from test_modpo_stage import STAGE, made, rejected, rewards_of
from tiny import llama
from toy import pair

from homestretch.config.modpo import MODPOConfig
from homestretch.config.recipe import dump, load_recipe
from homestretch.errors import InputError, RecipeError
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.results import RunFolder
from homestretch.training import checkpoint
from homestretch.training.named_models import start_of, trained_beta
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages.objectives import policy_rewards
from homestretch.training.stages.pairs import Pairs


@pytest.mark.slow
def test_a_policy_as_a_reward_is_its_log_ratio_to_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    longer = {"beta": 0.2, "max_steps": 6, "learning_rate": 3e-3, "metric_for_best_model": "none"}
    dpo = run_recipe(recipe(tmp_path, "llama", [{"dpo": {**SMALL, **longer}}], rejected=rejected), tmp_path / "dpo")
    model = str(dpo.path / "model")
    settings = {"beta": 0.2, "weight": 0.5, "rewards": {"other": {"policy": model, "weight": 0.5}}}
    run = run_recipe(made(tmp_path, settings), tmp_path / "run")
    chosen_NM, rejected_NM = rewards_of(run)
    folder = run.path / "stages" / STAGE
    own, start = (checkpoint.load(folder / name)[0]["logp"].double() for name in ("policy-other", "reference"))
    assert float((chosen_NM - rejected_NM).mean()) > 0, "DPO has learned these pairs"
    said = capsys.readouterr().err
    assert trained_beta(model) == trained_beta(str(dpo.path / "stages" / "01-dpo" / "model")) == 0.2
    assert "how it was trained" not in said
    # The sum over all responses is 0.2 times that of the differences, token by token.
    total = float(torch.cat([chosen_NM, rejected_NM]).double().sum())
    assert total == pytest.approx(0.2 * float((own - start).sum()), rel=1e-3)
    other = made(tmp_path, {**settings, "rewards": {"other": {"policy": str(tmp_path / "none"), "weight": 0.5}}})
    with pytest.raises(InputError, match="there is no such folder"):
        run_recipe(other, tmp_path / "none-run")
    assert not (tmp_path / "none-run" / "stages").exists(), "before anything is trained"
    stronger = made(tmp_path, {**settings, "beta": 0.1})
    with pytest.raises(
        RecipeError, match=r"was trained with beta 0.2, and beta 0.1 would scale its reward wrongly; set"
    ):
        run_recipe(stronger, tmp_path / "stronger")
    moved = dpo.model.rename(tmp_path / "moved")
    unknown = made(tmp_path, {**settings, "beta": 0.1, "rewards": {"other": {"policy": str(moved), "weight": 0.5}}})
    run_recipe(unknown, tmp_path / "unknown")
    ratio = "its reward is taken to be 0.1 times its log-ratio to this run's start."
    assert f"modpo: {moved} does not say how it was trained; {ratio}" in capsys.readouterr().err
    t5 = recipe(tmp_path, "t5", [{"dpo": {**SMALL, "beta": 0.2, "max_steps": 1}}], rejected=rejected)
    strange = str(run_recipe(t5, tmp_path / "t5-run").path / "model")
    wrong = made(tmp_path, {**settings, "rewards": {"other": {"policy": strange, "weight": 0.5}}})
    with pytest.raises(InputError, match=r"does not read this model's tokens; name one with the same tokenizer"):
        run_recipe(wrong, tmp_path / "strange")


@pytest.mark.slow
def test_a_policy_is_measured_against_what_it_was_trained_from(tmp_path: Path) -> None:
    """Whatever this run itself starts from: the reward belongs to the policy."""
    dpo = {"dpo": {**SMALL, "max_steps": 4, "learning_rate": 3e-3, "metric_for_best_model": "none"}}
    sft = {"sft": {**SMALL, "max_steps": 4, "learning_rate": 3e-3, "metric_for_best_model": "none"}}
    other = run_recipe(recipe(tmp_path, "llama", [sft, dpo], rejected=rejected), tmp_path / "other")
    model = str(other.path / "model")
    assert start_of(model) == str(other.path / "stages" / "01-sft" / "model")
    base = start_of(start_of(model))
    assert base == load_recipe(other.recipe).model_name_or_path and start_of(base) is None
    objective = {"weight": 0.5, "rewards": {"other": {"policy": model, "weight": 0.5}}}
    ours = recipe(tmp_path, "llama", [{"modpo": {**SMALL, **objective, "max_steps": 1}}], rejected=rejected)
    theirs = ours.model_copy(update={"model_name_or_path": start_of(model)})
    from_base, from_sft = (run_recipe(r, tmp_path / name) for r, name in ((ours, "base"), (theirs, "sft")))
    for one, two in zip(rewards_of(from_base), rewards_of(from_sft), strict=True):
        assert torch.allclose(one, two, atol=1e-5) and one.abs().max() > 0
    assert (from_base.path / "stages" / STAGE / "policy-other-start").is_dir()
    assert not (from_sft.path / "stages" / STAGE / "policy-other-start").exists()


def test_the_start_of_a_policy_is_read_from_its_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    stages = [
        "sft",
        "negatives",
        "reward",
        {"dpo": {"beta": 0.3}},
        {"best_of": {"num_samples": 2, "rewards": {"concise": 1}}},
    ]
    made = load_recipe({"model_name_or_path": "models/gone", "dataset": {"name": "pairs.jsonl"}, "stages": stages})
    run.path.mkdir()
    run.recipe.write_text(dump(made))
    sft, dpo = run.stage(1, "sft").model, run.stage(4, "dpo").model
    assert start_of(str(run.model)) is None, "the stage's model has been deleted"
    sft.mkdir(parents=True)
    assert start_of(str(run.model)) == start_of(str(dpo)) == str(sft), "best_of changes no weights"
    assert trained_beta(str(run.model)) == 0.3
    assert start_of(str(sft)) is None, "of a name that is no folder here nobody knows what it was"
    assert start_of(str(tmp_path / "elsewhere")) is None


def test_a_policy_of_fewer_tokens_is_refused(tmp_path: Path) -> None:
    asks = SimpleNamespace(
        load_trunk=lambda model: Trunk(llama(vocab=8)),
        policy=lambda trunk, adapter, config: Policy(trunk, adapter, budget=100),
        config=SimpleNamespace(is_encoder_decoder=False),
    )
    pairs = Pairs([], [], torch.zeros(1), torch.zeros(1))
    with pytest.raises(InputError, match="The policy `other` does not read this model's tokens"):
        policy_rewards(asks, MODPOConfig(), pairs, [pair(0).chosen], tmp_path / "policy", "other")
