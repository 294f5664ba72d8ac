"""Stage `modpo` in whole runs: rewards of both sides, a policy as a reward, what is said and refused, exact resume."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from offline_runs import SMALL, log, recipe, same_after_being_killed
from tiny import llama
from toy import pair

from homestretch.config.modpo import MODPOConfig
from homestretch.data.records import example_from_row, side
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.results import RunFolder
from homestretch.training import checkpoint
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages.objectives import contradictions, policy_rewards, scales
from homestretch.training.stages.pairs import Pairs

STAGE = "01-modpo"
HALF = {"weight": 0.5, "rewards": {"concise": 0.5}}
TRUTH = {"weight": 0.5, "rewards": {"truth": {"column": "rewards.truth", "weight": 0.5}}}


def rejected(row: dict[str, Any], i: int) -> str:
    return row["completion"][::-1] + " no" * (i % 3 + 1)


def truth(sign: float) -> Any:
    return lambda row, i: {"truth": sign * (i % 4)}


def made(folder: Path, settings: dict[str, Any], name: str = "llama", **columns: Any) -> Any:
    return recipe(folder, name, [{"modpo": {**SMALL, **settings}}], **{"rejected": rejected, **columns})


def rewards_of(run: RunFolder) -> tuple[torch.Tensor, torch.Tensor]:
    found = checkpoint.load(run.path / "stages" / STAGE / "objectives")[0]
    return found["reward_chosen_BM"], found["reward_rejected_BM"]


def test_columns_of_a_side_lose_its_name() -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "chosen_rewards": {"t": 1}, "rejected_rewards": {"t": 2}}
    pair = example_from_row(row, where="f:1")
    assert [side(pair, name).completion for name in ("chosen", "rejected")] == ["a", "b"]
    assert [side(pair, name).columns["rewards"] for name in ("chosen", "rejected")] == [{"t": 1}, {"t": 2}]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "use_peft"), [("llama", True), ("t5", False)])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, name: str, use_peft: bool) -> None:
    settings = {**HALF, "use_peft": use_peft, "learning_rate": 3e-3}
    run = same_after_being_killed(made(tmp_path, settings, name), tmp_path, STAGE)
    rows = [r for r in log(run, STAGE) if "margin" in r]
    assert len(rows) == 4 and rows[0]["margin"] == pytest.approx(0, abs=1e-4)
    chosen_NM, rejected_NM = rewards_of(run)
    words = torch.cat([chosen_NM, rejected_NM])
    assert float(words.std(0, correction=0)) == pytest.approx(1, abs=1e-5)
    assert bool((chosen_NM > rejected_NM).all()), "every worse response of these data has more words"
    # At the start the policy is its reference: the logit is minus the weighted difference, over the weight.
    assert rows[0]["loss"] > math.log(2)


@pytest.mark.slow
def test_rewards_of_the_data_and_what_is_said_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"chosen_rewards": truth(1.0), "rejected_rewards": truth(-2.0)}
    two = {"weight": 0.5, "standardise": False, "rewards": {**TRUTH["rewards"], "concise": 0.0}}
    chosen_NM, rejected_NM = rewards_of(run_recipe(made(tmp_path, two, **columns), tmp_path / "run"))
    assert sorted(set(chosen_NM[:, 0].tolist())) == [0, 1, 2, 3]
    assert torch.equal(rejected_NM[:, 0], -2 * chosen_NM[:, 0])
    said = capsys.readouterr().err
    assert "modpo: `truth` prefers the worse response of 0% of the pairs." in said
    assert "is divided by" not in said and "times as widely" not in said
    far = {"chosen_rewards": truth(1e4), "rejected_rewards": truth(-1e4)}
    run_recipe(made(tmp_path, two, **far), tmp_path / "far")
    assert "modpo: `truth` spreads" in (said := capsys.readouterr().err)
    assert "as widely as `concise` and decides alone; set modpo.standardise=true." in said
    run_recipe(made(tmp_path, TRUTH, **far), tmp_path / "divided")
    assert "modpo: `truth` is divided by" in (said := capsys.readouterr().err) and "widely" not in said


@pytest.mark.slow
def test_pairs_to_which_an_objective_does_not_apply_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "return [None if text.endswith(' no') else float(len(text)) for text in completions]"
    (tmp_path / "mine.py").write_text(f"def mine(completions):\n    {body}\n")
    mine = {"weight": 0.5, "rewards": {"mine": {"function": f"{tmp_path}/mine.py:mine", "weight": 0.5}}}
    columns = {"rejected": lambda row, i: row["completion"][::-1] + (" no" if i % 4 == 0 else " yes")}
    chosen_NM, rejected_NM = rewards_of(run_recipe(made(tmp_path, mine, **columns), tmp_path / "run"))
    nowhere = int((rejected_NM == 0).sum())
    assert 0 < nowhere < len(chosen_NM) and torch.equal(chosen_NM == 0, rejected_NM == 0)
    assert f"modpo: `mine` does not apply to {nowhere} of {len(chosen_NM)} pairs; it counts 0 there." in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_policy_as_a_reward_is_its_log_ratio_to_the_start(tmp_path: Path) -> None:
    longer = {"beta": 0.2, "max_steps": 6, "learning_rate": 3e-3, "metric_for_best_model": "none"}
    dpo = run_recipe(recipe(tmp_path, "llama", [{"dpo": {**SMALL, **longer}}], rejected=rejected), tmp_path / "dpo")
    model = str(dpo.path / "model")
    settings = {"beta": 0.2, "weight": 0.5, "rewards": {"other": {"policy": model, "weight": 0.5}}}
    run = run_recipe(made(tmp_path, settings), tmp_path / "run")
    chosen_NM, rejected_NM = rewards_of(run)
    folder = run.path / "stages" / STAGE
    own, start = (checkpoint.load(folder / name)[0]["logp"].double() for name in ("policy-other", "reference"))
    assert float((chosen_NM - rejected_NM).mean()) > 0, "DPO has learned these pairs"
    # The sum over all responses is 0.2 times that of the differences, token by token.
    total = float(torch.cat([chosen_NM, rejected_NM]).double().sum())
    assert total == pytest.approx(0.2 * float((own - start).sum()), rel=1e-3)
    other = made(tmp_path, {**settings, "rewards": {"other": {"policy": str(tmp_path / "none"), "weight": 0.5}}})
    with pytest.raises(InputError, match="there is no such folder"):
        run_recipe(other, tmp_path / "none-run")
    t5 = recipe(tmp_path, "t5", [{"dpo": {**SMALL, "max_steps": 1}}], rejected=rejected)
    strange = str(run_recipe(t5, tmp_path / "t5-run").path / "model")
    wrong = made(tmp_path, {**settings, "rewards": {"other": {"policy": strange, "weight": 0.5}}})
    with pytest.raises(InputError, match=r"does not read this model's tokens; name one that was trained from the same"):
        run_recipe(wrong, tmp_path / "strange")


def test_a_policy_of_fewer_tokens_is_refused(tmp_path: Path) -> None:
    asks = SimpleNamespace(
        load_trunk=lambda model: Trunk(llama(vocab=8)),
        policy=lambda trunk, adapter, config: Policy(trunk, adapter, budget=100),
        config=SimpleNamespace(is_encoder_decoder=False),
    )
    pairs = Pairs([], [], torch.zeros(1), torch.zeros(1))
    with pytest.raises(InputError, match="The policy `other` does not read this model's tokens"):
        policy_rewards(asks, MODPOConfig(), pairs, [pair(0).chosen], tmp_path / "policy", "other")


def test_columns_that_are_not_there_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs.jsonl:\d+: the reward `truth` reads the column `rewards.truth`"):
        run_recipe(made(tmp_path, TRUTH, chosen_rewards=truth(1.0)), tmp_path / "one-side")
    negatives = recipe(tmp_path, "llama", ["negatives", {"modpo": {**SMALL, **TRUTH}}])
    with pytest.raises(RecipeError, match="names a column as a reward, which made failures do not have: give rows"):
        run_recipe(negatives, tmp_path / "made")
    assert not (tmp_path / "made" / "stages").exists()


def test_an_objective_that_says_nothing_is_refused() -> None:
    terms = MODPOConfig(weight=0.2, rewards={"concise": 0.3, "coverage": 0.5}).rewards
    with pytest.raises(DataError, match="The objective `coverage` gives 2 to every response: it has nothing to say"):
        scales(terms, torch.tensor([[1.0, 2.0], [3.0, 2.0]]), standardise=True)
    assert scales(terms, torch.tensor([[1.0, 2.0], [3.0, 8.0]]), standardise=True).tolist() == [1.0, 3.0]
    assert scales(terms, torch.tensor([[1.0, 2.0], [5.0, 8.0]]), standardise=False).tolist() == [1.0, 1.0]


def test_pairs_in_both_orders_are_counted() -> None:
    def made(prompt: str, chosen: str, rejected: str) -> Any:
        return example_from_row({"prompt": prompt, "chosen": chosen, "rejected": rejected}, where="f:1")

    rows = [made("p", "a", "b"), made("p", "b", "a"), made("q", "b", "a"), made("p", "a", "c")]
    assert contradictions(rows) == 2
    assert json.dumps(rows[0].columns["rejected"]) == '"b"'
