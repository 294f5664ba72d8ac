"""Stage `modpo` in whole runs: rewards of both sides, a policy as a reward, what is said and refused, exact resume."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import SMALL, log, recipe, same_after_being_killed

from homestretch.config.modpo import MODPOConfig
from homestretch.data.records import example_from_row, side
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.results import RunFolder
from homestretch.training import checkpoint
from homestretch.training.needs import check_numbers
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages.objectives import (
    contradictions,
    deviations,
    scales,
    tell_orders,
    tell_scales,
)

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
    assert "as widely as the order of the pairs and decides alone; set modpo.standardise=true." in said
    run_recipe(made(tmp_path, TRUTH, **far), tmp_path / "divided")
    assert "modpo: `truth` is divided by" in (said := capsys.readouterr().err) and "widely" not in said


@pytest.mark.slow
def test_a_low_weight_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low = {"weight": 0.05, "rewards": {"concise": 0.95}, "max_steps": 1}
    run_recipe(made(tmp_path, low), tmp_path / "run")
    assert "divides by the weight 0.05, which makes its argument 20 times as large" in capsys.readouterr().err
    run_recipe(made(tmp_path, {**low, "weight": 0.1, "rewards": {"concise": 0.9}}), tmp_path / "enough")
    assert "divides by the weight" not in capsys.readouterr().err


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
    there = torch.cat([chosen_NM[chosen_NM != 0], rejected_NM[rejected_NM != 0]])
    assert float(there.std(correction=0)) == pytest.approx(1, abs=1e-5), "divided by the deviation of what applies"
    assert f"modpo: `mine` does not apply to {nowhere} of {len(chosen_NM)} pairs; it counts 0 there." in (
        capsys.readouterr().err
    )


def test_columns_that_are_not_there_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs.jsonl:\d+: the reward `truth` reads the column `rewards.truth`"):
        run_recipe(made(tmp_path, TRUTH, chosen_rewards=truth(1.0)), tmp_path / "one-side")
    negatives = recipe(tmp_path, "llama", ["negatives", {"modpo": {**SMALL, **TRUTH}}])
    with pytest.raises(RecipeError, match="names a column as a reward, which made failures do not have: give rows"):
        run_recipe(negatives, tmp_path / "made")
    assert not (tmp_path / "made" / "stages").exists()


@pytest.mark.parametrize("side_name", ["chosen_rewards", "rejected_rewards"])
def test_a_reward_of_a_side_is_a_finite_number(side_name: str) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", side_name: {"t": math.inf}}
    with pytest.raises(DataError, match=rf"f:1: `{side_name}.t` = inf is not a finite number; correct it"):
        example_from_row(row, where="f:1")
    missing = example_from_row({**row, side_name: {"t": None}}, where="f:1")
    with pytest.raises(
        InputError, match=r"f:1: the reward `truth` reads the column `rewards.t`, and the row has no finite num"
    ):
        check_numbers("truth", "rewards.t", [side(missing, side_name.partition("_")[0])])
    logits = example_from_row({"prompt": "p", "completion": "a", "logits": [1.0, math.nan]}, where="f:2")
    check_numbers("truth", "logits.0", [logits])
    with pytest.raises(
        InputError, match=r"f:2: the reward `truth` reads the column `logits.1`, and the row has no finite num"
    ):
        check_numbers("truth", "logits.1", [logits])


def test_deviations_are_of_what_applies() -> None:
    terms = MODPOConfig(weight=0.2, rewards={"concise": 0.3, "coverage": 0.5}).rewards
    with pytest.raises(DataError, match="The objective `coverage` gives 2 to every response: it has nothing to say"):
        deviations(terms, torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    assert deviations(terms, torch.tensor([[1.0, 2.0], [3.0, 8.0]])).tolist() == [1.0, 3.0]
    # 100 and 101 on one half of the pairs, nothing on the other.
    some = torch.tensor([[100.0, 0.0], [math.nan, 2.0], [101.0, 4.0], [math.nan, 2.0]])
    assert deviations(terms, some).tolist() == pytest.approx([0.5, 2**0.5])
    with pytest.raises(DataError, match="The objective `concise` applies to no pair; give it data, or leave it out"):
        deviations(terms, torch.tensor([[math.nan, 0.0], [math.nan, 1.0]]))
    tenth = torch.full((300, 1), 0.1)
    assert float(tenth.std(0, correction=0)) > 0, "float32 makes a deviation out of its own rounding"
    neighbour = torch.where(torch.arange(300)[:, None] == 7, torch.nextafter(tenth, torch.ones(())), tenth)
    for same in (tenth, neighbour):
        with pytest.raises(DataError, match=r"The objective `concise` gives 0\.1 to every response"):
            deviations({"concise": terms["concise"]}, same)


def with_policy(**settings: Any) -> MODPOConfig:
    other = {"policy": "runs/other", "weight": 0.25}
    return MODPOConfig(weight=0.5, rewards={"concise": 0.25, "other": other}, **settings)


def test_a_policys_reward_is_in_the_units_of_the_pairs() -> None:
    assert scales(with_policy().rewards, torch.tensor([3.0, 7.0])).tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "deviation", "sentence"),
    [
        ({"standardise": False}, [2.0, 3.0], ""),
        ({"standardise": False}, [0.005, 1.0], "the order of the pairs spreads 200 times as widely as `concise` and"),
        ({"standardise": False}, [0.005, 1.0], "set modpo.standardise=true."),
        ({"standardise": False}, [500.0, 1.0], "`concise` spreads 500 times as widely as the order of the pairs and"),
        (
            {"standardise": False},
            [500.0, 0.5],
            "`concise` spreads 1,000 times as widely as `other` and decides alone; se",
        ),
        (
            {"standardise": False},
            [1.0, 0.005],
            "as widely as `other` and decides alone; train the policy of `other` ag",
        ),
        ({"standardise": True}, [500.0, 1.0], ""),
        (
            {"standardise": True},
            [500.0, 0.005],
            "as widely as `other` and decides alone; train the policy of `other` ag",
        ),
        ({"standardise": True}, [1.0, 300.0], "`other` spreads 300 times as widely as the order of the pairs and deci"),
    ],
)
def test_what_is_offered_against_far_scales_is_not_there_already(
    settings: dict[str, Any], deviation: list[float], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, deviation_M = with_policy(**settings), torch.tensor(deviation, dtype=torch.float64)
    scale_M = scales(config.rewards, deviation_M) if config.standardise else torch.ones_like(deviation_M)
    tell_scales(config, deviation_M, scale_M)
    said = capsys.readouterr().err
    assert sentence in said if sentence else "widely" not in said
    assert "standardise" not in said or not config.standardise


def test_one_reward_is_compared_with_the_order_of_the_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    config = MODPOConfig(weight=0.5, rewards={"concise": 0.5}, standardise=False)
    tell_scales(config, torch.tensor([120.0]), torch.ones(1))
    assert "`concise` spreads 120 times as widely as the order of the pairs and decides" in capsys.readouterr().err


def test_pairs_in_both_orders_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def made(prompt: str, chosen: str, rejected: str) -> Any:
        return example_from_row({"prompt": prompt, "chosen": chosen, "rejected": rejected}, where="f:1")

    rows = [made("p", "a", "b"), made("p", "b", "a"), made("q", "b", "a"), made("p", "a", "c")]
    assert contradictions(rows) == 2
    terms = MODPOConfig().rewards
    for kind, what in (
        ("modpo", "they teach the other rewards alone"),
        ("dpo", "holds them at the reference against the other rewards"),
    ):
        tell_orders(kind, rows, terms, torch.zeros(8, 1))
        assert f"{kind}: 2 pairs stand in the data in both orders; their order cancels, and {what}." in (
            capsys.readouterr().err
        )
    assert json.dumps(rows[0].columns["rejected"]) == '"b"'
