"""How far a stage has come, and stages that train until a budget is used up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import accelerator, batch_of, plan, trunk_of

from homestretch.algorithms.base import Algorithm, Models
from homestretch.algorithms.ift import IFT
from homestretch.algorithms.sft import SFT
from homestretch.config.ift import IFTConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.training import TrainingConfig
from homestretch.errors import RecipeError
from homestretch.policies.policy import Policy
from homestretch.training.course import ends_a_part, expected_rounds, share_done
from homestretch.training.loop import Progress, fit

SIZE = 8
TOKENS = list(accumulate(int(batch_of(n).tokens_B.sum()) for n in range(12)))


class Killed(BaseException):
    """Stands for the end of the process."""


def run(
    folder: Path,
    until: dict[str, int],
    *,
    rounds: int = 2,
    every: int | None = 1,
    killed_at: int | None = None,
    validate: Callable[[int], dict[str, float]] | None = None,
    algorithm: Algorithm | None = None,
) -> tuple[dict[str, torch.Tensor], Progress]:
    trunk = trunk_of()

    def batches(number: int) -> Any:
        if number == killed_at:
            raise Killed
        return batch_of(number)

    config = TrainingConfig(learning_rate=1e-2, train_until=until, lr_scheduler_type="linear", warmup_steps=0)
    made = plan(folder, trunk, config, rounds=rounds, every=every, batch_of=batches, validate=validate)
    if every is None:
        made = dataclasses.replace(made, config=config)
    at = fit(algorithm or SFT(), Models(policy=Policy(trunk, None, budget=4096)), made, accelerator())
    return {k: v.detach().clone() for k, v in trunk.named_parameters()}, at


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_the_share_is_that_of_the_rounds_or_of_the_limit_that_is_used_most() -> None:
    spent = {"round": 3, "tokens": 50, "samples": 30, "seconds": 1.0}
    assert share_done({}, spent, rounds=12) == 0.25
    assert share_done({"tokens": 200}, spent, rounds=12) == 0.25
    assert share_done({"tokens": 200, "samples": 40, "seconds": 9}, spent, rounds=1) == 0.75


def test_rounds_are_expected_at_the_pace_so_far() -> None:
    assert expected_rounds({}, 0.3, done=3, rounds=12) == 12
    assert expected_rounds({"tokens": 9}, 0.0, done=0, rounds=12) == 12
    assert expected_rounds({"tokens": 9}, 0.25, done=2, rounds=12) == 8


def test_quarters_end_once() -> None:
    shares = [0.0, 0.1, 0.26, 0.3, 0.5, 0.74, 1.01]
    ends = [ends_a_part(a, b) for a, b in pairwise(shares)]
    assert ends == [False, True, False, True, False, True]


@pytest.mark.parametrize("extra", [0, 1])
def test_a_stage_ends_with_the_update_that_uses_up_its_tokens(tmp_path: Path, extra: int) -> None:
    _, at = run(tmp_path, {"tokens": TOKENS[2] + extra}, rounds=2)
    assert (at.round, at.tokens, at.samples) == (3 + extra, TOKENS[2 + extra], SIZE * (3 + extra))
    assert [row["num_samples"] for row in rows(tmp_path)] == [SIZE * n for n in range(1, 4 + extra)]


def test_seconds_end_a_stage_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("homestretch.training.loop.time.monotonic", lambda: float(next(ticks)))
    _, at = run(tmp_path, {"seconds": 3})
    assert (at.round, at.seconds) == (3, 3.0), "a round takes one tick of this clock"


def test_so_many_samples_are_the_same_training_as_so_many_rounds(tmp_path: Path) -> None:
    """The step size falls to zero over the budget, although the plan guessed two rounds."""
    ours, at = run(tmp_path / "samples", {"samples": 5 * SIZE}, rounds=2)
    theirs, _ = run(tmp_path / "rounds", {}, rounds=5)
    assert same(ours, theirs) and at.round == 5
    rates = [row["learning_rate"] for row in rows(tmp_path / "samples")]
    assert rates == pytest.approx([1e-2 * left / 5 for left in (5, 4, 3, 2, 1)])


@pytest.mark.parametrize("killed_at", [1, 4])
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, killed_at: int) -> None:
    until = {"tokens": TOKENS[5]}
    whole, at = run(tmp_path / "whole", until)
    with pytest.raises(Killed):
        run(tmp_path / "killed", until, killed_at=killed_at)
    again, resumed = run(tmp_path / "killed", until)
    assert same(again, whole)
    assert dataclasses.replace(resumed, seconds=0.0) == dataclasses.replace(at, seconds=0.0)


def test_four_validations_where_the_recipe_says_nothing(tmp_path: Path) -> None:
    seen: list[int] = []
    run(tmp_path, {"samples": 12 * SIZE}, every=None, validate=lambda number: seen.append(number) or {})
    assert seen == [3, 6, 9, 12]


def test_the_end_is_validated_and_saved_whatever_the_recipe_says(tmp_path: Path) -> None:
    seen: list[int] = []
    run(tmp_path, {"samples": 4 * SIZE}, every=3, validate=lambda number: seen.append(number) or {})
    assert seen == [3, 4] and (tmp_path / "checkpoints" / "checkpoint-4").is_dir()


def test_the_limit_is_part_of_the_settings() -> None:
    assert PPOConfig(train_until={"tokens": 5}).max_steps == 20, "which the limit wins over"
    for wrong in ({"token": 5}, {"tokens": 0}, {"tokens": 1.5}):
        with pytest.raises(RecipeError):
            PPOConfig.parse({"train_until": wrong}, where="here")


def test_a_share_of_all_steps_is_one_of_the_rounds_that_the_budget_is_for(tmp_path: Path) -> None:
    """80 samples are 10 rounds of 8, whatever the first guess: lam rises over 5 of them, and goes on after a stop."""
    config = IFTConfig(lam_schedule="linear", lam=0.4, lam_warmup_steps=0.5)
    until = {"samples": 80}
    whole, _ = run(tmp_path / "whole", until, rounds=3000, algorithm=IFT(config))
    lams = [row["lam"] for row in rows(tmp_path / "whole")]
    assert lams == pytest.approx([0.0, 0.08, 0.16, 0.24, 0.32, 0.4, 0.4, 0.4, 0.4, 0.4])
    with pytest.raises(Killed):
        run(tmp_path / "killed", until, rounds=3000, algorithm=IFT(config), killed_at=4)
    assert same(run(tmp_path / "killed", until, rounds=3000, algorithm=IFT(config))[0], whole)
    assert [row["lam"] for row in rows(tmp_path / "killed")] == lams
