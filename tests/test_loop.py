"""The training loop: split invariance, bad steps, exact resume, schedules, the best round."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy import accelerator, batch_of, pairs_of, plan, ppo_models, prompts_of, trunk_of

from homestretch.algorithms.base import Models, Offline
from homestretch.algorithms.ppo import PPO
from homestretch.algorithms.reward_model import RewardModelling
from homestretch.algorithms.sft import SFT
from homestretch.batch import LossTerms, SequenceBatch
from homestretch.config.ppo import PPOConfig
from homestretch.config.training import TrainingConfig
from homestretch.errors import TrainingDiverged
from homestretch.policies.policy import Policy
from homestretch.training import checkpoint
from homestretch.training.loop import Progress, fit

RATE = 1e-3
CONFIG = TrainingConfig(learning_rate=RATE, metric_for_best_model="score", warmup_steps=0)
SCORES = [1.0, 2.0, 4.0, 9.0, 3.0, 0.5, 2.5]


class Weighted(Offline):
    """Likelihood times the row's stored reward, averaged over sequences, with noise that the round must seed."""

    needs = frozenset({"pairs", "rewards"})

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
        noise_BT = 1 + 0.1 * torch.rand(logp_BT.shape)
        return LossTerms(terms=-logp_BT * batch.reward_B[:, None] * noise_BT, mask=batch.mask_BT, average="sequence")


class SequenceSFT(SFT):
    """Maximum likelihood, averaged over sequences of their means."""

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        return dataclasses.replace(super().loss(models, batch), average="sequence")


def rewarded(number: int, *, bad: tuple[int, ...] = ()) -> SequenceBatch:
    reward_B = torch.linspace(0.5, 1.5, 8)
    reward_B[3] = torch.nan if number in bad else 1.0
    return dataclasses.replace(batch_of(number), reward_B=reward_B)


def rows_of(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def snapshots(trunk, kept: dict[int, dict[str, torch.Tensor]]):
    """A validation that notes the weights of each round."""

    def validate(number: int) -> dict[str, float]:
        kept[number] = {k: v.detach().clone() for k, v in trunk.named_parameters()}
        return {}

    return validate


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("name", ["llama", pytest.param("t5", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "algorithm", [SFT(), SequenceSFT(), RewardModelling("classifier")], ids=["token", "sequence", "pairs"]
)
def test_neither_loss_nor_weights_depend_on_how_a_batch_is_split(tmp_path, name, algorithm):
    found = {}
    for budget in (6, 17, 10_000):
        trunk = trunk_of(name, std=0.3, heads=("reward",))
        folder = tmp_path / str(budget)
        batches = pairs_of if isinstance(algorithm, RewardModelling) else batch_of
        made = plan(folder, trunk, CONFIG, rounds=3, budget=budget, batch_of=batches)
        fit(algorithm, Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
        moments = load_file(folder / "checkpoints" / "checkpoint-3" / "tensors.safetensors")
        found[budget] = rows_of(folder), moments
    whole, expected = found[10_000]
    for rows, tensors in found.values():
        for ours, theirs in zip(rows, whole, strict=True):
            assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-5)
        for key, value in expected.items():
            difference = (tensors[key] - value).abs()
            if key.endswith("exp_avg"):
                assert difference.max() <= 1e-4 * value.abs().max() + 1e-7, key
            elif not key.startswith("optimizer."):
                assert difference.max() < 0.05 * RATE and difference.mean() < 1e-3 * RATE, key


def test_a_step_that_is_not_finite_is_left_out_and_its_batch_is_kept(tmp_path):
    trunk, kept = trunk_of(), {}
    made = plan(
        tmp_path,
        trunk,
        CONFIG,
        rounds=5,
        batch_of=lambda number: rewarded(number, bad=(2,)),
        validate=snapshots(trunk, kept),
        every=1,
    )
    at = fit(Weighted(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    assert same(kept[3], kept[2])
    assert not same(kept[4], kept[3]) and not same(kept[2], kept[1])
    assert all(torch.isfinite(p).all() for p in trunk.parameters())
    bad = load_file(tmp_path / "bad_batches" / "update-2.safetensors")
    assert torch.equal(bad["ids_BT"], batch_of(2).ids_BT) and math.isnan(bad["reward_B"][3])
    assert [row for row in rows_of(tmp_path) if "skipped_update" in row] == [{"step": 3, "skipped_update": 2}]
    assert (at.updates, at.bad_steps) == (5, 0)
    tensors = load_file(tmp_path / "checkpoints" / "checkpoint-5" / "tensors.safetensors")
    assert {int(v) for k, v in tensors.items() if k.endswith(".step")} == {4}


def test_three_bad_steps_in_a_row_end_the_run_with_a_checkpoint(tmp_path):
    trunk, kept = trunk_of(), {}
    made = plan(
        tmp_path,
        trunk,
        CONFIG,
        rounds=9,
        batch_of=lambda number: rewarded(number, bad=(2, 3, 4)),
        validate=snapshots(trunk, kept),
        every=1,
    )
    with pytest.raises(TrainingDiverged, match=r"3 updates in a row.*lower toy\.learning_rate"):
        fit(Weighted(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    tensors, state = checkpoint.load(checkpoint.latest(tmp_path / "checkpoints"))
    assert state["round"] == 4 and state["bad_steps"] == 3
    assert same({k: tensors[k] for k in kept[2]}, kept[2])
    assert len(list((tmp_path / "bad_batches").iterdir())) == 3


def test_bad_steps_that_are_not_in_a_row_do_not_end_the_run(tmp_path):
    trunk = trunk_of()
    made = plan(tmp_path, trunk, CONFIG, rounds=6, batch_of=lambda number: rewarded(number, bad=(0, 1, 3, 4)))
    at = fit(Weighted(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    assert at.round == 6 and at.bad_steps == 0


def test_a_reward_that_is_not_a_number_ends_ppo(tmp_path):
    trunk = trunk_of(heads=("value",))
    models = ppo_models(trunk, tokens=4, reward=lambda r: (torch.full((len(r),), torch.nan), {}))
    before = {k: v.detach().clone() for k, v in trunk.named_parameters()}
    config = PPOConfig(rollout_batch_size=8, train_batch_size=4, num_generations=4, value_warmup_steps=0)
    with pytest.raises(TrainingDiverged):
        fit(PPO(config), models, plan(tmp_path, trunk, config, rounds=3, batch_of=prompts_of), accelerator())
    assert same(dict(trunk.named_parameters()), before)


class Killed(Exception):
    """The process is gone."""


def run(folder: Path, method: str, *, killed_at: int | None = None) -> tuple[dict[str, torch.Tensor], Progress]:
    """Six rounds of a fresh model in `folder`, a checkpoint every second one; the best is round 3."""
    trunk = trunk_of("llama", heads=("value",))
    if method == "ppo":
        config = PPOConfig(
            rollout_batch_size=8,
            train_batch_size=4,
            num_generations=4,
            value_warmup_steps=1,
            kl="adaptive",
            kl_horizon=50,
            metric_for_best_model="score",
            save_steps=2,
        )
        algorithm, models = PPO(config), ppo_models(trunk, tokens=5)
    else:
        config = CONFIG.model_copy(update={"save_steps": 2})
        algorithm, models = Weighted(), Models(policy=Policy(trunk, None, budget=4096))

    def batches(number: int) -> SequenceBatch:
        if number == killed_at:
            raise Killed
        return prompts_of(number, size=8) if method == "ppo" else rewarded(number, bad=(2,))

    made = plan(
        folder,
        trunk,
        config,
        rounds=6,
        batch_of=batches,
        validate=lambda number: {"score": SCORES[number]},
        keep_start=method == "ppo",
        every=1,
    )
    at = fit(algorithm, models, made, accelerator())
    return {k: v.detach().clone() for k, v in trunk.named_parameters()}, at


@pytest.mark.parametrize("method", ["weighted", "ppo"])
@pytest.mark.parametrize("killed_at", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5))])
def test_killed_and_resumed_equals_uninterrupted_to_the_bit(tmp_path, method, killed_at):
    whole, at = run(tmp_path / "whole", method)
    with pytest.raises(Killed):
        run(tmp_path / "killed", method, killed_at=killed_at)
    half_written = tmp_path / "killed" / "checkpoints" / ".checkpoint-9.writing"
    half_written.mkdir(parents=True)
    (half_written / "tensors.safetensors").write_bytes(b"half")
    resumed, at_resumed = run(tmp_path / "killed", method)
    assert same(resumed, whole)
    assert dataclasses.replace(at_resumed, seconds=0) == dataclasses.replace(at, seconds=0)
    ours, theirs = (checkpoint.load(tmp_path / n / "checkpoints" / "checkpoint-6") for n in ("killed", "whole"))
    assert same(ours[0], theirs[0]) and any(k.startswith("optimizer.") for k in ours[0])
    assert {**ours[1], "seconds": 0} == {**theirs[1], "seconds": 0}
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")


def test_the_best_round_is_put_back_at_the_end_as_the_metric_says(tmp_path):
    for metric, best in (("score", 3), ("nll", 5)):
        trunk, kept = trunk_of(), {}
        note = snapshots(trunk, kept)
        made = plan(
            tmp_path / metric,
            trunk,
            CONFIG.model_copy(update={"metric_for_best_model": metric}),
            rounds=6,
            validate=lambda number, note=note, metric=metric: note(number) | {metric: SCORES[number]},
            every=1,
        )
        at = fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
        assert (at.best_round, at.best) == (best, SCORES[best])
        assert same(dict(trunk.named_parameters()), kept[best]) and not same(kept[best], kept[6])
        assert checkpoint.read_state(made.folder / "best")["round"] == best


@pytest.mark.parametrize(("keep_start", "best"), [(True, 0), (False, 1)])
def test_the_start_is_validated_and_may_be_kept_only_where_the_plan_says_so(tmp_path, keep_start, best):
    trunk, kept = trunk_of(), {}
    before = {k: v.detach().clone() for k, v in trunk.named_parameters()}
    note = snapshots(trunk, kept)
    made = plan(
        tmp_path,
        trunk,
        CONFIG,
        rounds=2,
        validate=lambda number: note(number) | {"score": -float(number)},  # every round makes it worse
        keep_start=keep_start,
        every=1,
    )
    at = fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    assert list(kept) == [row["step"] for row in rows_of(tmp_path) if "eval/score" in row] == [0, 1, 2][best:]
    assert (at.best_round, at.best) == (best, -best)
    assert same(dict(trunk.named_parameters()), kept[best])
    assert same(kept[best], before) == keep_start


def test_a_watcher_is_heard_and_may_stop_the_run_for_good(tmp_path):
    def watch(row: dict) -> tuple[list[str], bool]:
        return (["Look here.", "And there."] if row["step"] == 2 else []), row["step"] == 2

    for _ in range(2):  # the second time there is nothing left to do
        trunk = trunk_of()
        made = plan(tmp_path, trunk, CONFIG, rounds=6, watch=watch)
        at = fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
        assert at.stopped and at.round == 2
        said = [{"step": 2, "doctor": sentence} for sentence in ("Look here.", "And there.")]
        assert [row for row in rows_of(tmp_path) if "doctor" in row] == said, "a row each"


@pytest.mark.parametrize(
    ("kind", "warmup", "factors"),
    [
        ("linear", 0, [1, 3 / 4, 2 / 4, 1 / 4]),
        ("linear", 2, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        ("constant", 0.5, [1 / 3, 2 / 3, 1, 1]),
        ("cosine", 0, [1, 0.75, 0.25]),
    ],
)
def test_the_step_size_of_each_round_by_hand(tmp_path, kind, warmup, factors):
    trunk = trunk_of()
    config = TrainingConfig(learning_rate=RATE, lr_scheduler_type=kind, warmup_steps=warmup)
    made = plan(tmp_path, trunk, config, rounds=len(factors))
    fit(SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    rates = [row["learning_rate"] for row in rows_of(tmp_path) if "learning_rate" in row]
    assert rates == pytest.approx([RATE * factor for factor in factors])
