"""Stage `alol` in whole runs: filtered and drawn rows, fewer steps, a frozen reference, exact resume, all variants."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from offline_runs import SMALL, log, recipe, same_after_being_killed
from toy import row

from homestretch.config.alol import ALOLConfig
from homestretch.errors import DataError
from homestretch.policies.policy import Policy
from homestretch.rewards.cache import model_key
from homestretch.training import checkpoint
from homestretch.training.pipeline import run_recipe
from homestretch.training.reference_logps import padded, reference_logps
from homestretch.training.stages.alol import batches, beaten
from homestretch.training.stages.value import ADVANTAGES

VALUE = {"value": {"responses": "stored", "num_train_epochs": 1, "train_batch_size": 4, "bf16": False}}


def reward(row: dict[str, Any], i: int) -> float:
    return (i % 4) / 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "use_peft"), [("llama", True), ("t5", True), ("gpt2", False), ("t5", False)])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, name: str, use_peft: bool) -> None:
    settings = {**SMALL, "use_peft": use_peft, "learning_rate": 1e-3}
    made = recipe(tmp_path, name, [VALUE, {"alol": settings}], reward=reward)
    run = same_after_being_killed(made, tmp_path, "02-alol")
    rows = [r for r in log(run, "02-alol") if "advantage" in r]
    assert len(rows) == 4 and all(r["advantage"] > 0 for r in rows)
    assert rows[0]["clipped"] == 0, "before the first update policy and reference agree"
    assert rows[0]["nll"] > rows[-1]["nll"] - 1


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["a_lol_seq", "a_lol_ref_free", "a_lol_kl", "r_lol"])
def test_every_variant_runs_with_what_it_needs(tmp_path: Path, variant: str) -> None:
    stages = [*([] if variant == "r_lol" else [VALUE]), {"alol": {**SMALL, "variant": variant}}]
    run = run_recipe(recipe(tmp_path, "llama", stages, reward=reward), tmp_path / "run")
    folder = sorted((run.path / "stages").glob("*-alol"))[0]
    assert (folder / "reference").is_dir() == (variant != "a_lol_ref_free")
    assert (folder / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_pass_over_the_rows_that_are_kept_has_fewer_steps(tmp_path: Path) -> None:
    steps = {}
    for sampling in ("priority", "filtered", "uniform"):
        settings = {**SMALL, "max_steps": None, "eval_steps": 100, "sampling": sampling}
        run = run_recipe(recipe(tmp_path, "llama", [VALUE, {"alol": settings}], reward=reward), tmp_path / sampling)
        adv_N = checkpoint.load(run.path / "stages" / "01-value" / ADVANTAGES)[0]["adv"]
        rows = [r for r in log(run, "02-alol") if "loss" in r]
        steps[sampling] = len(rows)
        kept = int((adv_N > 0).sum())
        assert len(rows) == -(-(len(adv_N) if sampling == "uniform" else kept) // 6)
        assert min(r["advantage"] for r in rows) > 0 or sampling == "uniform"
    assert steps["priority"] == steps["filtered"] < steps["uniform"]


@pytest.mark.slow
def test_no_response_that_beats_the_expectation_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe(tmp_path, "llama", [VALUE, {"alol": SMALL}], reward=reward)
    monkeypatch.setattr("homestretch.training.stages.value.advantage", lambda reward, value: reward - 2)
    with pytest.raises(DataError, match=r"None of \d+ stored responses earns more .*best advantage is -1\.25"):
        run_recipe(made, tmp_path / "run")


def test_rows_that_beat_the_expectation() -> None:
    assert beaten(torch.tensor([0.5, 0.0, -1.0, 0.1])) == [0, 3]


@pytest.mark.parametrize("sampling", ["priority", "filtered", "uniform"])
def test_what_is_constant_follows_its_row(sampling: str) -> None:
    """Also where a row is drawn twice, and where responses have different lengths."""
    rows = [row(i, reward=i / 8) for i in range(8)]
    logps = [-torch.arange(1.0, len(r.completion_ids) + 1) - 10 * r.index for r in rows]
    credit_N = torch.tensor([(-1.0) ** i * (i + 1) for i in range(8)])
    batch_of = batches(rows, credit_N, logps, ALOLConfig(sampling=sampling, train_batch_size=6), seed=5)
    batch = batch_of(3)
    assert len(batch) in (6, 2)
    for i, index in enumerate(batch.index_B.tolist()):
        n = len(rows[index].completion_ids)
        assert float(batch.adv_B[i]) == float(credit_N[index])
        assert batch.ids_BT[i, :n].tolist() == rows[index].completion_ids
        assert batch.logp_ref_BT[i, :n].tolist() == logps[index].tolist()
        assert not batch.logp_ref_BT[i, n:].any()
    assert torch.equal(batch.index_B, batch_of(3).index_B)
    drawn = {index for number in range(20) for index in batch_of(number).index_B.tolist()}
    assert drawn == ({0, 2, 4, 6} if sampling == "priority" else set(range(8)))


def test_log_probabilities_of_the_reference_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_policies import naive_logp
    from tiny import build

    from homestretch.policies.trunk import Trunk

    monkeypatch.setattr("homestretch.training.reference_logps.ROWS", 3)
    lm, rows = build("gpt2"), [row(i) for i in range(7)]
    arithmetic = ("float32", "cpu")
    asks = SimpleNamespace(arithmetic=lambda config: arithmetic, model=str(tmp_path), others=(), model_key=model_key)
    how = asks, ALOLConfig()
    made = reference_logps(*how, Policy(Trunk(lm), None, budget=20), rows, tmp_path / "reference")
    for r, logp in zip(rows, made, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(logp, naive_logp(lm, r.prompt_ids, r.completion_ids), atol=2e-5, rtol=1e-5)
    again = reference_logps(*how, SimpleNamespace(), rows, tmp_path / "reference")
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))
    assert padded(made[2:4], 5).shape == (2, 5)
